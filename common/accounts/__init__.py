"""The built-in accounts: who has a mailbox here, and by which secrets they are known.

Two SQLite files, because two kinds of programs read them. ``accounts.db`` (``directory.py``) has domains, users and
aliases and no secret; the programs of the mail road read it as ``accounts:`` tables. ``passwords.db``
(``passwords.py``) has the secrets and stands in a directory of its own, for auth alone: Landlock knows directories.
"""

from tubepost.common.accounts.directory import Alias, Directory, Domain, User
from tubepost.common.accounts.files import AccountsError
from tubepost.common.accounts.names import fold_name, split_name
from tubepost.common.accounts.passwords import ApplicationPassword, Passwords, StoredPassword

__all__ = [
    "AccountsError",
    "Alias",
    "ApplicationPassword",
    "Directory",
    "Domain",
    "Passwords",
    "StoredPassword",
    "User",
    "fold_name",
    "split_name",
]
