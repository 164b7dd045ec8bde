"""Waiting for what goes on in a thread: a task that is cancelled cannot stop that, only stop to look."""

import asyncio
from typing import TypeVar

T = TypeVar("T")


async def to_the_end(future: "asyncio.Future[T]") -> T:
    """What the future gives, or raises. Who is cancelled meanwhile is so when the work has ended, not before.

    So what the work uses, such as a descriptor, may be given back behind this. (A number that is closed too early is
    that of another file soon.)
    """
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait((future,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not future.cancelled():
            # Nobody will look at it.
            future.exception()
        raise cancelled
    return future.result()
