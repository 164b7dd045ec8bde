"""Do the file work of a call as the owner of the mailbox."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from tubepost.common.system.identity import acting_as

P = ParamSpec("P")
R = TypeVar("R")


class Owner:
    """``ids``: uid and gid to act as; None for the process's own. Shared by an account and its folders."""

    __slots__ = ("acting", "ids")

    def __init__(self, ids: tuple[int, int] | None) -> None:
        self.ids = ids
        self.acting = ids is None


class Owned(Protocol):
    @property
    def owner(self) -> Owner: ...


A = TypeVar("A", bound=Owned)


def as_owner(method: Callable[Concatenate[A, P], R]) -> Callable[Concatenate[A, P], R]:
    """For methods of what has an ``owner``. One may call another: the outermost changes who acts."""

    @wraps(method)
    def call(self: A, *arguments: P.args, **named: P.kwargs) -> R:
        owner = self.owner
        if owner.acting:
            return method(self, *arguments, **named)
        assert owner.ids is not None
        owner.acting = True
        try:
            with acting_as(*owner.ids):
                return method(self, *arguments, **named)
        finally:
            owner.acting = False

    return call  # type: ignore[return-value]  # mypy knows no positional self here
