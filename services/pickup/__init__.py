"""pickup - takes posted mail out of maildrop/ and brings it to cleanup

Summary
    pickup  unix  n  -  n  60  1  pickup

Description
    sendmail(1) and postdrop(1) leave each message as one queue file in ``maildrop/``, also while the system is down.
    When woken (by them, or by the master every minute) pickup reads what stands there complete, puts a Received: field
    in front, has cleanup queue it, and removes the file once cleanup has said that the message is safe. Of the envelope
    that a user wrote only what a user may say is taken over: sender, recipients, delivery status wishes; never a
    client's name, a filter or a time.

    A file that ``postsuper -r`` put back (it belongs to mail_owner and may be written to) keeps its envelope, loses
    its delivered recipients, and is rewritten anew.

    What cleanup refuses for good goes back to the sender through bounce; what it cannot take now stays for the next
    time. A file that is not complete is being written, and stays (a day later it is removed). What is no
    queue file, has no recipient, or has more than one name in the file system is removed with a line in the log; a
    damaged file that was in the queue before is left for a person. Recipients of more than 16 MiB go back to the
    sender. A file is locked while it is in work: at a reload two of these programs see the same directory.

Standards
    RFC 5321 4.4 (Received:): partly, there is no client to name.

Security
    Reads and removes files of users in ``maildrop/``, which others can make but not list; follows no links. No network.

Bugs
    A message that cleanup refuses is lost to its sender when the sender address is empty, as with any bounce.

See also
    sendmail(1), postdrop(1), postsuper(1); Postfix pickup(8).
"""
