"""indexer: brings the indexes of mailboxes up to date in the background, so that the first FETCH and SEARCH are quick.

Hears of changes from ``notify``, waits for a short quiet, and does for the mailboxes that changed what a session would
do when it is first asked: takes notice of new files, makes summaries, and takes texts into the full-text index. Without
it all is right, and the first search of new mail takes longer.

Called by: nobody. Calls: ``notify`` (subscribes). One process (``maxproc`` 1) of low priority, which master starts
(``process_min_avail`` 1) and which stays.

May touch: the mailboxes, as their owner. It opens only what is a Maildir already: a hint is believed by nobody.

Files: ``schedule`` (pure: what is due when), ``session`` (the program).

Known bugs: none.
"""
