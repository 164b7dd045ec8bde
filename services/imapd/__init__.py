"""imapd: the IMAP server (IMAP4rev2 and IMAP4rev1).

Takes clients on its inherited sockets, asks ``auth`` who they are, and serves their mailboxes from the store
(``common/mailbox``). Many sessions a process; an account that several of them use is opened once.

Called by: IMAP clients. Calls: ``auth`` (who is it, where is the mailbox), ``anvil`` (how many connections has this
user), ``notify`` (tells and hears of changes).

May touch: the mailboxes, as their owner. It reads no password and no queue file, starts no program and connects to
nobody.

Files with I/O: ``connection`` (octets in and out), ``session`` (one client), ``upload`` and ``assembly`` (messages on
their way in), ``watch`` (changes by other programs), ``logins`` (connections of a user, in all processes); open
accounts and the threads for long work are ``common/skeleton/mailboxes``. ``commands/`` has one command a file;
``capabilities`` says what is announced when.

``places`` finds a mailbox by its name, ``rights`` says who may do what there; ``selected`` is the selected mailbox and
``updates`` tells what changed in it; ``notification`` tells of all others that NOTIFY names.

Standards: docs/rfcs.md lists each with its status. The first of them: RFC 9051 (IMAP4rev2), RFC 3501 (IMAP4rev1).

Known bugs: none.
"""
