"""What an error of an index means, for whoever has to answer for it."""

import sqlite3


def is_corrupt(error: sqlite3.Error) -> bool:
    """Is the file itself broken (not busy, not full, not forbidden)?"""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_busy(error: sqlite3.Error) -> bool:
    """Did another process have the index to itself all the while?"""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
