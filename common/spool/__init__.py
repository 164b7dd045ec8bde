"""The queue: its directories and its files. STATES.md is the truth table of legal states.

Who may do what: cleanup creates in ``incoming``; postdrop creates in ``maildrop``, pickup removes from it; qmgr alone
moves and removes files of the other queues; postsuper moves them on a person's order; delivery agents read ``active``.
"""

from tubepost.common.spool.directories import HASHED, QUEUES, Spool
from tubepost.common.spool.queuefile import Damaged, Incomplete, QueueFile, Writer, encode, open_queue_file

__all__ = [
    "HASHED",
    "QUEUES",
    "Damaged",
    "Incomplete",
    "QueueFile",
    "Spool",
    "Writer",
    "encode",
    "open_queue_file",
]
