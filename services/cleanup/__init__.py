"""cleanup: makes a new message canonical, writes its queue file, and tells the queue manager.

NAME
    cleanup - canonicalize and enqueue mail

DESCRIPTION
    Answers ``cleanup/1`` requests (``common.wire.cleanup.Deposit``) of smtpd, pickup, bounce, local, virtual, verify.
    A message is answered with ``Deposited`` once its queue file is synced in ``incoming/`` (or ``hold/``), with
    ``Refused`` when it may not come in; nothing of it is kept then. It

    - takes out the headers of ``message_drop_headers``, adds missing From:, To:, Date:, Message-Id: (Resent-… ones for
      mail that is resent) to mail that is rewritten here, or to all with ``always_add_missing_headers``;
    - brings envelope addresses, and header addresses where the client is local or ``remote_header_rewrite_domain`` is
      set, into standard form (the rewrite service), then through sender_canonical_maps, recipient_canonical_maps,
      canonical_maps and masquerade_domains;
    - expands recipients through ``virtual_alias_maps``; removes duplicates; with more addresses than
      ``message_size_limit`` (at most 16 MiB) holds the message is refused;
    - adds always_bcc, sender_bcc_maps, recipient_bcc_maps and the BCC action's recipients;
    - looks headers and body lines up in header_checks, mime_header_checks, nested_header_checks and body_checks;
    - refuses mail with too many Received: headers or beyond the size limit;
    - with ``extract_recipients`` reads recipients from To:, Cc:, Bcc: (Resent-…), as ``sendmail -t`` asks for.

    A message that comes in one piece is scanned once, and only its header; a streamed one is written as it arrives.
    With no maps and checks set, a body is never looked into, but for stray CR characters.

STANDARDS
    RFC 5322 yes (3.6.1-3.6.6 missing fields, 3.6.6 resent fields)
    RFC 2045, RFC 2046 yes (structure, for the checks)
    RFC 3461 5.2.7 yes: alias expansion keeps ENVID, RET and ORCPT; NOTIFY=SUCCESS is answered with "expanded" where
    one address becomes several, and goes on to a single one
    RFC 3463 yes

SECURITY
    Reads lookup tables, writes queue files in ``incoming/`` and ``hold/``. Opens no network connection, starts no
    program. What peers send is only copied or judged; sizes, nesting, address counts and lookups are bounded by
    parameters.

CONFIGURATION PARAMETERS
    See docs/parameters.md, section Cleanup.

BUGS
    A body check sees one line at a time, in pieces of 2048 bytes, before any decoding.
    Mail is refused, not bounced: a caller that has taken mail over (pickup, local) bounces it itself.
    Milters are not there yet.

SEE ALSO
    ``services/README.md`` (the road of a message), ``common/spool/STATES.md``, canonical(5), virtual(5),
    header_checks(5) of Postfix.
"""
