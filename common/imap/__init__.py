"""IMAP as bytes and values, shared by a server and a client (floor 0, pure).

============== ========================================================================================================
reader         the server's input: commands, literals, streamed messages, SASL lines, from bytes as they come
parse          Scanner: one command's arguments token by token: atom, astring, mailbox, flags, sets, dates …
arguments      what each command takes: select, list_mailboxes, status, store, copy, login …
append         APPEND and REPLACE, whole or as far as a literal's beginning
administration metadata, quota, ACL, URLAUTH, COMPRESS, CANCELUPDATE
fetch          FETCH: attributes, sections, macros, modifiers
search         SEARCH, SORT, THREAD as trees; charset: the character sets
notification   NOTIFY and ESEARCH
errors         BadCommand (status, code, text) and its kinds: the only exceptions of all these
sets           SequenceSet: parse, lay over existing numbers; compact: numbers back to a set
names          mailbox names: modified UTF-7, INBOX, levels, LIST patterns
write          strings, names, dates, flags, response codes as bytes
envelope       ENVELOPE; bodystructure: BODY and BODYSTRUCTURE; sections: what BODY[…] means
subject        base subjects (RFC 5256 2.1); collation: i;unicode-casemap
client         the other side: a server's responses, as a client reads them
ordering       SORT and the results of THREAD; threads: the REFERENCES and REFS algorithms
============== ========================================================================================================

A server's loop::

    reader.feed(data)
    while (event := reader.next_event()) is not None:
        match event:
            case Command(tag, verb, args):
                scanner = Scanner(args, utf8=enabled)
                try:
                    request = fetch.parse_fetch(scanner, uid=verb == b"UID FETCH")
                except BadCommand as fault:
                    answer(tag, fault.status, fault.code, fault.text)
"""
