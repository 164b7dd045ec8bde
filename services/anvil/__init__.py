"""anvil - counts connections and rates of clients, and connections of users

Summary
    anvil  unix  n  -  n  -  1  anvil

Description
    Keeps, for each (service, client), how many connections are open now and how many connections, messages, recipients
    and so on there were in the current ``anvil_rate_time_unit``. smtpd asks and decides; anvil only counts. The
    connections of an smtpd process that dies are taken back. Peak counts are logged each
    ``anvil_status_update_time``.

    For imapd it adds up how many connections each user has from one network in all processes; each process says how
    many it has.

Standards
    None.

Security
    Answers smtpd and imapd only, and counts users by the program that asks; touches no file and no network. Its memory
    is bounded: clients without open connections are forgotten when their time unit is over, users when they have no
    connection, and at most 100,000 are counted of either: who comes then is not limited.

Bugs
    Counts are of this instance alone. Those of clients start anew when anvil is restarted; those of users are there
    again after each process's next login. Private, as Postfix's master.cf has it, it is out of imapd's reach where the
    mailboxes belong to another account than mail_owner's: imapd says so once, and each process counts for itself.

See also
    Postfix anvil(8); Dovecot's anvil and mail_max_userip_connections.

Files: ``protocol`` (clients), ``logins`` (users), both pure; ``session`` answers.
"""
