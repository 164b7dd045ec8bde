"""What an error of an index means, for whoever has to answer for it."""

import sqlite3

IndexTrouble = sqlite3.Error
"""What the store raises where its index fails, by the name that services and commands catch."""


def is_corrupt(error: IndexTrouble) -> bool:
    """Is the file itself broken (not busy, not full, not forbidden)?"""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_busy(error: IndexTrouble) -> bool:
    """Did another process have the index to itself all the while?"""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def is_full(error: IndexTrouble) -> bool:
    """Was there no space for what was to be written?"""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
