"""flush - keeps lists of deferred mail by destination

Summary
    flush  unix  n  -  n  1000?  0  flush

Description
    For each destination that fast_flush_domains matches, ``flush/`` has a list of the queue ids of mail that waits for
    it: qmgr adds to it as it defers. ``SendSite`` (ETRN, ``postqueue -s``, ``sendmail -qR``) has qmgr try these
    messages now, and empties the list. A list that nobody asked for in fast_flush_refresh_time is handled so too, for
    its messages may be gone; an empty one that is older than fast_flush_purge_time is removed.

    A list only saves time: mail that is missing from it is tried when its time comes.

Standards
    RFC 1985 (ETRN): the part behind the command.

Security
    Takes entries from qmgr, orders from smtpd and from the users that authorized_flush_users matches. Writes
    ``flush/``; has no network and starts no programs.

Bugs
    Names of destinations that differ only in characters other than letters and digits share a list.

See also
    Postfix flush(8), ETRN_README.
"""
