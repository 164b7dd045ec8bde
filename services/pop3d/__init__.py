"""pop3d - lets people fetch their mail over POP3

Summary
    pop3   inet  n  n  n  -  -  pop3d
    pop3s  inet  n  n  n  -  -  pop3d -o pop3d_tls_wrappermode=yes

Description
    Takes clients on its inherited sockets, asks ``auth`` who they are, and serves their INBOX from the mailbox store. A
    session sees the messages that were there when it logged in. It has the maildrop to itself among POP3 sessions, in
    all processes, so a user's connections need no other limit; IMAP sessions and deliveries go on meanwhile. What was
    marked by DELE is removed when QUIT was said, and never otherwise.

    Called by: POP3 clients. Calls: ``auth`` (who is it, where is the mailbox), ``notify`` (tells of removals).

Standards
    RFC 1939 (POP3): yes; APOP where auth_mechanisms has it and passwords are stored in clear.
    RFC 2449 (CAPA and response codes): yes. RFC 3206 (SYS and AUTH codes): yes.
    RFC 2595 (STLS): yes. RFC 8314 (TLS from the beginning, port 995): yes.
    RFC 5034 (AUTH): yes. RFC 6856 (UTF8, LANG): yes, with one language.

Security
    Reads and writes the mailboxes, as their owner. Reads no password and no queue file, starts no program and connects
    to nobody. A client gets 65,536 octets a command at most (pop3d_line_length_limit), and no more than one message at
    a time is on its way to it.

Bugs
    A message whose header is in UTF-8 is sent in ASCII to clients that did not say UTF8 (RFC 6856 2.1, RFC 6858); LIST
    tells its size as it is stored.

See also
    Dovecot's pop3_* settings.

Files: ``protocol`` (the machine), ``events``, ``maildrop`` (the messages of a session), ``rendering`` (a message as it
is sent), all pure; ``session`` (one connection) and ``server`` (what they share) do I/O.
"""
