"""What a command is: a function, the state of the session it is for, and what may be told when it ends."""

import enum
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

from tubepost.common.imap.reader import Command

from tubepost.services.imapd.replies import Ok

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session


class Updates(enum.Enum):
    """Untagged responses about the selected mailbox before the tagged answer.

    RFC 9051 7.5.1: no EXPUNGE while FETCH, STORE or SEARCH is in progress, for their message numbers would shift.
    """

    ALL = enum.auto()
    NO_EXPUNGE = enum.auto()
    NONE = enum.auto()


class Entry(NamedTuple):
    """``state``: any; before the login; after it; selected."""

    run: "Callable[[Session, Command], Awaitable[Ok]]"
    state: Literal["any", "before", "after", "selected"] = "after"
    updates: Updates = Updates.ALL
