"""qmgr - decides who delivers what and when

Summary
    qmgr  unix  n  -  n  300  1  qmgr

Description
    Takes messages from ``incoming`` (told by cleanup, or found) and, when their time has come, from ``deferred`` into
    ``active``; resolves recipients; hands delivery requests to agents, within limits by transport and destination; and
    sees to what is left: marks delivered recipients in the queue file, logs failures through bounce, defers, returns,
    removes. It alone moves queue files between queues (postsuper apart).

    ``active`` and the recipients in memory are bounded (qmgr_message_active_limit, qmgr_message_recipient_limit): what
    does not fit waits on disk. Recipients of a big list are read in portions; each message may have
    qmgr_message_recipient_minimum of them in memory, so that a list does not keep other mail out.

    A transport has at most as many deliveries under way as maxproc of its line in master.cf says (times client_limit
    where that is set on the line). Mail past maximal_queue_lifetime is tried once more and then returned; what
    ``postsuper -e`` marked is returned without a try. ``sendmail -bv`` and ``-v`` get a report of the first round.

    What is delivered while postsuper puts the message on hold is marked there; reports wait until it comes back.

    Users may flush, or ask for a scan, when authorized_flush_users matches them.

Standards
    RFC 3461 (DSN: which reports are due): yes. RFC 3463 (status codes): yes.

Security
    Told by cleanup, flush and people's commands; reads and renames queue files; no network, starts no programs. What
    agents answer is checked: a recipient without exactly one status is tried again.

Bugs
    An agent or qmgr that is killed between a delivery and its mark in the queue file has that recipient delivered
    twice (common/spool/STATES.md).

See also
    Postfix qmgr(8), SCHEDULER_README, QSHAPE_README.
"""
