"""pipe - delivers through a command

Summary
    name  unix  -  n  n  -  -  pipe
        flags=… user=… [directory=…] [chroot=…] [eol=…] [null_sender=…] [size=…] argv=command argument …

Description
    Takes delivery jobs of qmgr. The command of ``argv=`` (executed without a shell) gets the message on its standard
    input, as ``user=name`` or ``user=name:group``, for at most ``<name>_time_limit``. In its arguments stand
    ``${recipient} ${original_recipient} ${user} ${extension} ${mailbox} ${domain}`` (an argument with one of these is
    repeated for each recipient), ``${sender} ${nexthop} ${size} ${queue_id} ${envid} ${client_address}
    ${client_helo} ${client_hostname} ${client_port} ${client_protocol} ${sasl_method} ${sasl_sender}
    ${sasl_username}``; ``$name`` and ``$(name)`` are the same, ``$$`` is a dollar sign.

    flags: ``B`` an empty line at the end, ``D`` Delivered-To: (and loops are found by it), ``F`` a From_ line, ``O``
    X-Original-To:, ``R`` Return-Path:, ``X`` the command delivers finally, ``h`` domains and ``u`` local parts of
    recipients in lower case, ``q`` addresses with their quotes, ``.`` a dot before lines that begin with one, ``>`` a
    ``>`` before lines that begin with ``From ``. ``D`` and ``O`` need ``<name>_destination_recipient_limit = 1``.

    The exit status is one of sysexits.h: 75 waits, 67 is an unknown user …; a failing command whose output begins
    with an enhanced status code has the last word.

Standards
    RFC 3463: yes. RFC 3461: success is reported as relayed, with the flag X as delivered.

Security
    Called by qmgr and local. With root it keeps the right to act as the user of master.cf, which can be neither root
    nor the owner of the mail system. Without root commands can run as the one account of the mail system only.

Bugs
    None known.

See also
    Postfix pipe(8).
"""
