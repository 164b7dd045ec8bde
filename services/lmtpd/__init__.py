"""lmtpd - takes mail of other mail servers over LMTP, into the mailbox store

Summary
    lmtpd          unix  n  n  n  -  -  lmtpd
    127.0.0.1:24   inet  n  n  n  -  -  lmtpd

Description
    A mail server that has queued a message hands it over here for its last step: Postfix with
    ``virtual_transport = lmtp:unix:/…/public/lmtpd`` or ``mailbox_transport``, Exim with its lmtp transport. The users
    are those that ``auth`` knows; a recipient may have an extension (``recipient_delimiter``). Each recipient gets a
    reply of its own behind the content. A message in a mailbox is durable when it is said to be; ``notify`` is told.

    Who may connect is said by ``lmtpd_authorized_users`` on a UNIX socket and by ``lmtpd_authorized_clients`` on TCP.

Standards
    RFC 2033 (LMTP): yes. RFC 1870 (SIZE), 2034 (ENHANCEDSTATUSCODES), 2920 (PIPELINING), 3030 (CHUNKING), 3207
    (STARTTLS), 6152 (8BITMIME), 6531 (SMTPUTF8): yes. RFC 5321 4.4 (Return-Path:, Received:): yes.
    RFC 3461 (DSN): not offered, so that the server that hands over reports to the sender.

Security
    Reads no password and no queue file, starts no program and connects to nobody; writes mailboxes as their owner.
    A client costs one command line and 256 KiB of content in memory; larger content waits in a file without a name
    beside the first recipient's mail.

Bugs
    A recipient who is named twice gets the message twice.

See also
    Dovecot's lmtp service, Postfix lmtp(8).

Files: ``protocol`` (the machine), ``events`` and ``head`` are pure; ``session`` (one client), ``server`` (what they
share) and ``incoming`` (content on its way) do I/O.
"""
