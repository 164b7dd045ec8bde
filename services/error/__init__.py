"""error - fails or defers all mail that is routed to it

Summary
    error  unix  -  -  n  -  -  error
    retry  unix  -  -  n  -  -  error

Description
    Every recipient of a job gets the next hop as the reason why it is not delivered: as ``error`` the mail is returned
    to its sender, as ``retry`` it waits. An enhanced status code may stand before the reason
    (``error:5.7.1 this domain is closed``); without one it is 5.0.0, or 4.0.0 for ``retry``. The content of the
    message is not looked at.

Standards
    RFC 3463 (enhanced status codes): yes.

Security
    Called by qmgr and local. Opens no file, has no network and starts no programs.

See also
    Postfix error(8).
"""
