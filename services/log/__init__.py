"""log - writes everybody's log lines

Summary
    postlog  unix-dgram  n  -  n  -  1  log

Description
    Receives datagrams of one or more whole lines on ``public/postlog`` from all programs of the instance and appends
    them to ``maillog_file`` (``/dev/stdout``: the master's standard output); with no maillog_file it hands them to the
    system's syslog socket. Lines arrive formatted, each behind the microsecond at which it was said; nothing else is
    parsed. They are held for some hundredths of a second and written in that order, so that what different programs
    say of one message stands in the order in which it happened: log analysers count on it. Reopens its file when it
    was renamed away (log rotation).

Standards
    RFC 3164 (BSD syslog, line shape): partly.

Security
    Reads one socket, writes one file. Anybody on this machine may send lines, as to syslog, and say in them what they
    like; control characters in them are replaced, so that each is one line of text.

Bugs
    What arrives while the kernel's queue is full waits in the senders; a sender that dies then loses its last lines.

See also
    common/system/log.py, the senders' side; Postfix postlogd(8).
"""
