"""Who may do what with the queue: the authorized_*_users lists of login names (Postfix manual: postconf(5))."""

import pwd
from collections.abc import Iterable

from tubepost.common.tables.match import StringList
from tubepost.common.tables.table import TableEnvironment, TableError

_ANYONE = ("static:anyone",)
_UNKNOWN = "unknown"
"""The name of a user who has no account (Postfix: such a user is let in by static:anyone only)."""


def login_name(uid: int) -> str:
    """The account's name, or ``unknown``."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return _UNKNOWN


async def forbidden(
    title: str, patterns: Iterable[str], uid: int, environment: TableEnvironment, owner: str = ""
) -> str:
    """Empty when this user is in the list; else the user's name, for the refusal.

    ``title``: the parameter's name. With ``owner`` (mail_owner) root and that account may always. A table that cannot
    be asked lets nobody in.
    """
    patterns = tuple(patterns)
    if patterns == _ANYONE:
        return ""
    name = login_name(uid)
    if owner and (uid == 0 or name == owner):
        return ""
    try:
        allowed = await StringList(title, patterns, environment).match(name)
    except TableError as error:
        environment.warn(f"{title}: {error}")
        allowed = False
    return "" if allowed else name
