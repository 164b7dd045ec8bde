"""bounce - keeps the logs of what failed or waits, and reports to senders

Summary
    bounce  unix  -  -  n  -  0  bounce
    defer   unix  -  -  n  -  0  bounce
    trace   unix  -  -  n  -  0  bounce

Description
    A message that could not be delivered to all its recipients has a log in ``bounce/``, ``defer/`` or ``trace/`` under
    its queue id: one line of JSON (``common.wire.bounce.Entry``) a recipient. Entries of bounce and trace are on disk
    before the caller is answered. On ``Send`` the log becomes a delivery status notification, which is mailed through
    cleanup; then the log is removed, except after a delay warning.

    failure: to the sender. Mail from the null sender is never returned: with ``2bounce`` in notify_classes it goes to
    2bounce_notice_recipient; mail from double_bounce_sender is given up. With ``bounce`` there, the postmaster gets a
    copy with the header only. A VERP sender gets one report a recipient (disable_verp_bounces).
    delay: a warning; success and verbose: what NOTIFY=SUCCESS and ``sendmail -v`` asked for.

    The texts are templates in the format of Postfix's bounce(5), built in or from bounce_template_file. A message
    larger than bounce_size_limit, or with RET=HDRS, is returned as its header alone. A report that would be larger than
    half of message_size_limit, or 4 MB, is sent in parts, each on some of the recipients.

Standards
    RFC 3461 (NOTIFY, RET, ENVID, ORCPT): yes. RFC 3462 and 6522 (multipart/report): yes. RFC 3464 (delivery status):
    yes. RFC 6533 (internationalised reports): yes. RFC 3834 (Auto-Submitted): yes. RFC 5321 4.5.5 (null reverse path):
    yes.

Security
    Answers qmgr, cleanup, pickup and local. Reads ``active/`` and ``maildrop/``, writes its three directories, has no
    network and starts no programs.
    What peers said stands in reports with its control characters replaced.

See also
    Postfix bounce(8), bounce(5).
"""
