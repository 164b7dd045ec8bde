"""rewrite: brings addresses into standard form, and says where mail for an address goes (Postfix trivial-rewrite(8)).

What it does. *Rewrite*: append @$myorigin and .$mydomain, read ``site!user`` and ``user%domain`` as ``user@domain``,
take off source routes and a final dot; in the context of this host's own mail, or of others' mail
(remote_header_rewrite_domain). *Resolve*: the address class of the domain (local, virtual alias, virtual mailbox,
relay, default) gives transport and next hop; relayhost, sender_dependent_relayhost_maps and
sender_dependent_default_transport_maps, transport_maps and relocated_maps have their say. Probes of address
verification use the address_verify_… twins of these parameters.

Who calls it. cleanup (headers and envelope), smtpd (is this recipient ours?), qmgr (where does it go?), local, verify,
through ``common/wire/rewrite`` and the caching client ``common/bus/rewriting``.

Standards. RFC 5321 4.1.2 and 4.1.3 (address syntax, literals): yes; RFC 822 source routes and the percent hack: read,
and resolved away; RFC 6531 (internationalised addresses): yes.

What it may touch. It reads lookup tables. It opens no network connection except for tables that are servers, and
writes no file.

Known limits. Addresses travel in external form: a quoted local part that holds routing characters is opened up as
Postfix does (resolve_dequoted_address), which RFC 5321 does not allow, and which is needed to stop relaying.
"""
