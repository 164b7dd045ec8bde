"""The restriction language of smtpd_*_restrictions (Postfix: SMTPD_ACCESS_README, access(5)).

========== ==============================================================================
words      what checks answer, the classes of what is rejected, enhanced codes adjusted
world      what checks may ask of the outside, as Protocols
evaluation one session's judgement in progress: rejections, deferrals, side effects
language   a list's text compiled into steps
engine     the steps of a list run; the lists of each command in their order
generic    permit, reject, defer …, pipelining, sleep, policy service
client     client name and address        helo    the HELO name
addresses  sender and recipient           relay   who may relay; backup MX
access     access tables and their actions
dnslists   DNS block and allow lists      servers tables of MX, NS and A records
unlisted   unknown local, virtual and relay recipients
========== ==============================================================================

None of it does I/O itself: tables, DNS, verify, rewrite and policy services come in through ``world``.
"""
