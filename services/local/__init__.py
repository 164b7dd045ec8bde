"""local - delivers to the users of this system: aliases, .forward files, mailboxes, files and commands

Summary
    local  unix  -  n  n  -  -  local

Description
    Takes delivery jobs of qmgr. A recipient's local part, folded to lower case, is looked up in this order:

    1. ``alias_maps``: the whole local part, then without its extension (``recipient_delimiter``);
    2. forward files of the user (``forward_path``);
    3. ``mailbox_transport_maps``, ``mailbox_transport``;
    4. for users of the system: ``mailbox_command_maps``, ``mailbox_command``, ``home_mailbox``,
       ``mail_spool_directory``;
    5. for all others: ``fallback_transport_maps``, ``fallback_transport``, ``luser_relay``; then the mail bounces.

    An alias or a forward file has any of: an address, ``|command``, ``/file``, ``/directory/`` (Maildir), ``~/file``,
    ``:include:/file``, ``\\user`` (no further alias or forward file). An alias ``owner-list`` becomes the sender of
    what goes to ``list``. Addresses of others, and of local users where a list or a forward file names them, get the
    message anew through cleanup, with a Delivered-To: line; a recipient who stands in such a line already ends the
    loop: 5.4.6.

    Commands run as the user, with SHELL HOME USER LOGNAME EXTENSION DOMAIN LOCAL RECIPIENT SENDER
    ORIGINAL_RECIPIENT ENVID CLIENT_ADDRESS CLIENT_HELO CLIENT_HOSTNAME CLIENT_PROTOCOL SASL_METHOD SASL_SENDER
    SASL_USERNAME in their environment, for at most ``command_time_limit``; their exit status is one of sysexits.h.

Delivery rights
    Of the user whose forward file or mailbox it is; of the owner of an alias table or :include: file; where that is
    root, of ``default_privs``. When the mail system runs without root it has one account only: mail that needs
    another is deferred, and the reason says so.

Standards
    RFC 3461 5.2.7 (aliases and lists): yes. RFC 3463: yes. RFC 4155 (mbox): yes. Maildir: yes.

Security
    Called by qmgr only. With root it keeps the right to act as recipients. Runs users' commands; they have no network.
    Regular expression substitution is off in alias_maps, and proxy: is passed over, since what they give is trusted
    with commands and files.

Bugs
    What went to a command or file is not remembered: when another destination of the same alias must wait, it gets
    the message again. ``biff`` has no effect: there is no network to tell a user's comsat over.

See also
    Postfix local(8), aliases(5).
"""
