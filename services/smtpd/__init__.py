"""smtpd: the SMTP server.

DESCRIPTION
    Takes mail from the network. Each client is judged by smtpd_*_restrictions, relay control first; recipients that
    this system does not know are refused while the client waits. A message is handed to cleanup, and 250 is said only
    after cleanup has said that it is on disk: until then the client owns it, and a crash here loses nothing.

CALLED BY
    Clients of the network, over sockets that the master listens on. ``sendmail -bs`` runs standalone.py, which posts
    what it is given and calls only pickup.

CALLS
    cleanup     the message; also notices to the postmaster (notify_classes)
    rewrite     where an address leads (relay control, unknown recipients); from memory for 30 seconds
    anvil       connection and rate limits of clients outside smtpd_client_event_limit_exceptions
    verify      reject_unverified_sender, reject_unverified_recipient
    flush       ETRN
    auth        which SASL mechanisms may be offered, and each exchange of AUTH
    proxymap    ``proxy:`` tables
    DNS, and policy services over TCP or UNIX sockets, where restrictions ask for them

STANDARDS
    RFC 5321 yes · RFC 1870 (SIZE) yes · RFC 1985 (ETRN) yes · RFC 2034 (enhanced codes) yes · RFC 2920 (PIPELINING)
    yes · RFC 3030 (CHUNKING, BINARYMIME) yes · RFC 3461 (DSN) yes · RFC 6152 (8BITMIME) yes · RFC 6531 (SMTPUTF8) yes ·
    RFC 7505 (null MX) yes · RFC 9422 (LIMITS) RCPTMAX · Postfix's XCLIENT, XFORWARD, XVERP for authorised clients ·
    RFC 3207 (STARTTLS) yes · RFC 8314 (TLS from the beginning, port 465) yes · RFC 4954 (AUTH) yes · RFC 3848 (ESMTPSA)
    yes · RFC 5929 (channel binding, tls-server-end-point) yes

SECURITY
    Talks to strangers and owns no file: it opens none for writing, and for reading only main.cf and lookup tables.
    Memory a session: a command line, ``_READ_AHEAD`` bytes of input, and INLINE_LIMIT bytes of content.
    Only CR LF "." CR LF ends a message (smtpd_forbid_bare_newline); a stray CR becomes a space. An answer that cannot
    be had (table, DNS, rewrite) defers and never permits. What a client sends in the clear behind STARTTLS is never
    run: nothing is read between the reply and the handshake. The private key is read before privileges are dropped;
    passwords are seen in passing, and stand in no log and no transcript.

FILES
    protocol.py     the machine: bytes to events and replies. It stands on contents.py (a message's content), that on
                    lines.py (command lines), that on ledger.py (replies and counts); tables.py verbs.py parameters.py
                    xclient.py events.py settings.py hello.py authentication.py are its parts
    restrictions/   the restriction language
    session.py      one client: drives the machine, asks the others; connection.py its bytes and time limits
    security.py     TLS and AUTH of a session; counting.py what anvil is asked; proxied.py XCLIENT
    server.py       what all sessions of a process share; outside.py what restrictions ask for; handover.py deposit.py
                    policy.py resolver.py
    standalone.py   one session on standard input and output; posting.py puts its messages into maildrop

BUGS
    With certificates of several kinds there is no channel binding. tls_server_sni_maps takes tables of this machine
    only. With a Python that is not CPython 3.11 to 3.13 with a shared libssl a client certificate that
    smtpd_tls_CAfile does not verify ends the handshake, so that relay_clientcerts finds those of known authorities
    only. Over TLS a client that closes its sending side gets no further replies.
    An action (HOLD, FILTER …) of smtpd_end_of_data_restrictions comes too late for a message that is streamed already
    (more than INLINE_LIMIT bytes); a refusal does not. smtpd_command_filter and smtpd_reject_footer_maps take tables of
    this machine only.

SEE ALSO
    docs/architecture.md; Postfix's smtpd(8), access(5), SMTPD_ACCESS_README
"""
