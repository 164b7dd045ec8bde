"""indexer: brings the indexes of mailboxes up to date in the background, so that the first FETCH and SEARCH are quick.

Hears of changes from ``notify``, waits for a short quiet, and does for the mailboxes that changed what a session would
do when it is first asked: takes notice of new files, makes summaries, and takes texts into the full-text index. Without
it all is right, and the first search of new mail takes longer.

Called by: ``notify`` (``Changed``, one-way). Calls: nobody. One process (``maxproc`` 1) of low priority, which
comes with the first change and goes when there is nothing to do.

May touch: the mailboxes, as their owner. It opens only what is a Maildir already: a hint is believed by nobody.

Files: ``schedule`` (pure: what is due when), ``session`` (the program).

Known bugs: none.
"""
