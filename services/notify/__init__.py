"""notify: passes on which mailboxes have changed, from those who change them to those who serve clients.

Called by: ``virtual``, ``local``, ``lmtpd``, ``imapd``, ``pop3d`` and the command line (``Changed``, one-way);
``imapd`` subscribes (``Subscribe``, a streamed reply that lasts as long as it does). Calls: ``indexer`` (``Changed``,
where master.cf has it). It keeps nothing: a hint that is lost costs a delay, for the store itself knows what is true.

May touch: nothing. One process (``maxproc`` 1), until it is told to stop.

Known bugs: none.
"""
