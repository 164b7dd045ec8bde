"""Address rewriting and resolving (the rewrite program)."""

from tubepost.common.config.declare import Boolean, List, Maps, Settings, Text


class Rewrite(Settings):
    append_at_myorigin = Boolean("yes", "Add @$myorigin to an address without a domain, in mail of this host.")
    append_dot_mydomain = Boolean("no", "Add .$mydomain to a domain that is one bare word, in mail of this host.")
    allow_percent_hack = Boolean("yes", "Read user%domain as user@domain.")
    swap_bangpath = Boolean("yes", "Read site!user as user@site.")
    allow_min_user = Boolean("no", "Allow recipients that begin with a minus sign.")
    resolve_dequoted_address = Boolean("yes", "Look for @, % and ! inside a quoted local part as well.")
    resolve_null_domain = Boolean("no", "Take user@ as a local user.")
    resolve_numeric_domain = Boolean("no", "Take user@1.2.3.4 as user@[1.2.3.4].")
    remote_header_rewrite_domain = Text(
        "", "Domain added to header addresses without one in mail of others; empty: none."
    )
    local_header_rewrite_clients = List(
        "permit_inet_interfaces", "Clients whose message headers are rewritten as those of this host."
    )
    empty_address_recipient = Text("MAILER-DAEMON", "Who gets mail for the null address.", low=1)
    empty_address_relayhost_maps_lookup_key = Text(
        "<>", "Key of the null sender in sender_dependent_relayhost_maps.", low=1
    )
    empty_address_default_transport_maps_lookup_key = Text(
        "<>", "Key of the null sender in sender_dependent_default_transport_maps.", low=1
    )
    transport_maps = Maps("", "Table of transports and next hops by recipient or domain.")
    relocated_maps = Maps("", "Table of recipients who moved, and where to.")
    local_transport = Text("local:$myhostname", "Transport for mydestination.", low=1)
    virtual_transport = Text("virtual", "Transport for virtual_mailbox_domains.", low=1)
    relay_transport = Text("relay", "Transport for relay_domains.", low=1)
    default_transport = Text("smtp", "Transport for all other domains.", low=1)
    sender_dependent_relayhost_maps = Maps("", "Table of relay hosts by sender.")
    sender_dependent_default_transport_maps = Maps("", "Table of default transports by sender.")
    propagate_unmatched_extensions = List(
        "canonical, virtual",
        "Tables whose result gets the extension of an address that matched without it.",
        choices=("canonical", "virtual", "alias", "forward", "include", "generic"),
    )
    virtual_alias_domains = List("$virtual_alias_maps", "Domains all of whose addresses are aliases.")
    virtual_alias_maps = Maps("", "Table of addresses that stand for other addresses, of any domain.")
