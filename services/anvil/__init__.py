"""anvil - counts connections and rates of clients

Summary
    anvil  unix  -  -  n  -  1  anvil

Description
    Keeps, for each (service, client), how many connections are open now and how many connections, messages, recipients
    and so on there were in the current ``anvil_rate_time_unit``. smtpd asks and decides; anvil only counts. The
    connections of an smtpd process that dies are taken back. Peak counts are logged each
    ``anvil_status_update_time``.

Standards
    None.

Security
    Answers smtpd only; touches no file and no network. Its memory is bounded: clients without open connections are
    forgotten when their time unit is over, and at most 100,000 are counted.

Bugs
    Counts are of this instance alone, and start anew when anvil is restarted.

See also
    Postfix anvil(8).
"""
