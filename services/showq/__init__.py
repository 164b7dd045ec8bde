"""showq - lists the queue for mailq and postqueue

Summary
    showq  unix  n  -  n  -  -  showq

Description
    Answers one question: which messages are where, since when, from whom, to whom they still have to go, and why they
    wait. The answer is a stream that begins at once, whatever the length of the queue: a message is read when it is
    about to be sent, and a caller that reads slowly, or went away, slows or stops the reading.

    Who may ask is said in authorized_mailq_users; root and mail_owner always may.

Security
    Reads the queue's directories and the logs of bounce; writes nothing, has no network. Never shows content.

Bugs
    A message that moves from one queue to another while they are read may be listed twice, or not at all.

See also
    common/spool/listing.py, which does the reading; postqueue(1); Postfix showq(8).
"""
