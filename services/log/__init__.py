"""log - writes everybody's log lines

Summary
    postlog  unix-dgram  n  -  n  -  1  log

Description
    Receives datagrams of one or more whole lines on ``public/postlog`` from all programs of the instance and appends
    them to ``maillog_file`` (``/dev/stdout``: the master's standard output); with no maillog_file it hands them to the
    system's syslog socket. Lines arrive formatted; nothing is parsed but the line ends. Reopens its file when it was
    renamed away (log rotation).

Standards
    RFC 3164 (BSD syslog, line shape): partly.

Security
    Reads one socket, writes one file. The socket's directory keeps other users out.

Bugs
    What arrives while the kernel's queue is full waits in the senders; a sender that dies then loses its last lines.

See also
    common/system/log.py, the senders' side; Postfix postlogd(8).
"""
