"""Work that waits only where it must. Pure.

Most of what a command needs is known at once; a task of the event loop and its futures would cost more than the work.
So the work is written as *steps*: a generator that yields what is to be awaited, and is sent the outcome.
"""

from collections.abc import Awaitable, Generator
from typing import Any, TypeVar

T = TypeVar("T")
Steps = Generator[Awaitable[Any] | None, Any, T]


async def drive_on(steps: Steps[T]) -> T:
    """The outcome, for those that wait anyway."""
    awaited: Awaitable[Any] | None = None
    try:
        while True:
            try:
                outcome = await awaited if awaited is not None else None
            except BaseException as error:
                awaited = steps.throw(error)
            else:
                awaited = steps.send(outcome)
    except StopIteration as stop:
        result: T = stop.value
        return result
