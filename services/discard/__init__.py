"""discard - takes mail and throws it away

Summary
    discard  unix  -  -  n  -  -  discard

Description
    Every recipient of a job counts as delivered; nothing is kept. The next hop is the reason that is logged
    (``discard:silently``).

Standards
    None.

Security
    Called by qmgr and local. Opens no file, has no network and starts no programs.

See also
    Postfix discard(8).
"""
