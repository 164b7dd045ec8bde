"""Work that waits only where it must. Pure.

Most of what a command needs is known at once; a task of the event loop and its futures would cost more than the work.
So the work is written as *steps*: a generator that yields what is to be awaited, and is sent the outcome.
"""

from collections.abc import Awaitable, Generator
from typing import Any, TypeVar

T = TypeVar("T")
Steps = Generator[Awaitable[Any] | None, Any, T]


def drive(steps: Steps[T]) -> T | Awaitable[T]:
    """The outcome, when nothing had to be awaited, or the promise of it."""
    try:
        awaited = next(steps)
    except StopIteration as stop:
        result: T = stop.value
        return result
    return _drive_on(steps, awaited)


async def drive_on(steps: Steps[T]) -> T:
    """The outcome, for those that wait anyway."""
    return await _drive_on(steps, None)


async def _drive_on(steps: Steps[T], awaited: Awaitable[Any] | None) -> T:
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
