"""smtp, lmtp - sends mail to other servers

Summary
    smtp   unix  -  -  n  -  -  smtp
    relay  unix  -  -  n  -  -  smtp -o syslog_name=postfix/$service_name
    lmtp   unix  -  -  n  -  -  lmtp

Description
    Takes delivery jobs of qmgr. For a next hop ``domain`` it looks up MX hosts, sorts them by preference, shuffles
    equal ones, and tries them until one takes the mail; ``[host]`` and ``[address]`` are not looked up by MX; ``:port``
    is understood. A host of the same or worse preference than this one is not tried; mail whose best host is this one
    is a loop. smtp_fallback_relay comes after all. Under the name lmtp it speaks LMTP, to ``inet:host:port`` or
    ``unix:path``, and every recipient has its own reply.

    A server's 4xx, and trouble with a connection, is a reason to try the next host, a 5xx is final. Commands are
    pipelined. A connection is kept for the next delivery while more mail for the same next hop keeps coming
    (smtp_connection_cache_on_demand), and reused after RSET, which travels with the commands behind it.

    TLS is used as smtp_tls_security_level and smtp_tls_policy_maps say. For ``may``, mail that has waited for
    minimal_backoff_time is sent in the clear to a server whose TLS fails, unless a password would go with it; for all
    other levels it waits. A password of smtp_sasl_password_maps (by sender, server name, next hop) is sent with the
    strongest mechanism that both sides have and the security options allow. A kept connection serves only a delivery
    with the same policy and password; where certificate or password go by the name, with the same next hop and host.

    Files: protocol (the pure machine), stages, server, envelope (its words), handshake (STARTTLS and AUTH, pure),
    policy (levels and names of certificates, pure), security (contexts, tables of passwords), routing (order of
    servers, pure), hosts (asks DNS), delivery (which server next, what becomes of whom), connection (moves bytes),
    content and edits (what travels), pool (kept connections), transcript (for the postmaster, pure), settings (from
    main.cf), session (the program).

Standards
    RFC 5321 SMTP client: yes. RFC 2033 LMTP: yes. RFC 1870 SIZE: yes. RFC 2034, 3463 status codes: yes.
    RFC 2920 PIPELINING: yes. RFC 3030 CHUNKING, BINARYMIME: for binary mail. RFC 3461 DSN: yes.
    RFC 6152 8BITMIME: yes, with conversion to 7-bit where the server lacks it. RFC 6531 SMTPUTF8: yes.
    RFC 7505 null MX: yes. RFC 9422 LIMITS: RCPTMAX. RFC 3207 STARTTLS, RFC 4954 AUTH: yes.
    RFC 7672 DANE, RFC 8461 MTA-STS: no.

Security
    Called by qmgr, and by local and smtp for mail that is passed on. Calls cleanup with transcripts of sessions in
    which the server broke the protocol (notify_classes protocol), or our tables failed (data). Reads queue files in
    ``active``, tables, /etc/resolv.conf and /etc/hosts; writes nothing; connects to other hosts. What a server says is
    bounded in length, and its control characters go into no log line.

Bugs
    "Trusted" in the log of the levels may and encrypt is told only where smtp_tls_CAfile is set.
    Connections are kept within one process: there is no scache service. A reply that is no SMTP
    reply ends the session; Postfix reads on.

See also
    Postfix smtp(8), generic(5), header_checks(5).
"""
