"""postdrop: puts one posted message into the maildrop queue (Postfix manual: postdrop(1)).

    postdrop [-c config_dir] [-rv]

sendmail runs it where only a set-gid program may write into maildrop. Standard input is ``common.wire.postdrop``;
input that ends early is forgotten. The queue file is on disk before the exit status 0; then pickup is woken, when it is
there: posting works while the system is down. Prints the queue id, before it reads.
"""

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import BinaryIO

from pydantic import ValidationError

from tubepost.common.wire.postdrop import CHUNK_LIMIT, LINE_LIMIT, Posting
from tubepost.common.wire.trigger import Done, Wake
from tubepost.common.bus import Bus, BusError
from tubepost.common.spool import Spool
from tubepost.common.spool.maildrop import Drop, TooLarge, TooManyRecipients

from tubepost.commands.console import (
    EX_DATAERR,
    EX_NOPERM,
    EX_TEMPFAIL,
    EX_UNAVAILABLE,
    EX_USAGE,
    Console,
    Fatal,
    knock,
    public_path,
    read_options,
    run,
    usage,
)

_USAGE = "[-c config_dir] [-v]"
_LENGTH_DIGITS = 10
_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)


class Cancelled(Exception):
    """The writer gave up before the end."""


def post(
    console: Console,
    chunks: Iterator[bytes],
    posting: Callable[[], Posting],
    begun: Callable[[str], None] = lambda queue_id: None,
) -> str:
    """Write the message; its queue id, which ``begun`` is told first. ``posting`` is asked when all content has passed.

    Raises Fatal, and what the two raise: then nothing is left behind.
    """
    check_user(console)
    limit = console.config.message_size_limit
    try:
        drop = Drop(Spool("."), limit)
        try:
            begun(drop.queue_id)
            for chunk in chunks:
                drop.write(chunk)
            last = posting()
            if not last.recipients:
                raise Fatal(EX_DATAERR, "the message has no recipients")
            # The caller's word on the time is not taken.
            return drop.finish(last.envelope.model_copy(update={"arrival_time": time.time()}), last.recipients)
        finally:
            drop.cancel()
    except TooManyRecipients:
        raise Fatal(EX_UNAVAILABLE, "too many recipients for one message") from None
    except TooLarge:
        raise Fatal(EX_UNAVAILABLE, f"message file too big: message_size_limit is {limit} bytes") from None
    except OSError as error:
        raise Fatal(*_explain(console, error)) from error


def check_user(console: Console) -> None:
    """authorized_submit_users. Raises Fatal."""
    user = console.forbidden("authorized_submit_users", owner=False)
    if user:
        raise Fatal(EX_NOPERM, f"User {user}({os.getuid()}) is not allowed to submit mail")


def _explain(console: Console, error: OSError) -> tuple[int, str]:
    config = console.config
    if error.errno in (errno.EACCES, errno.EPERM):
        return EX_NOPERM, (
            f"cannot write into {config.queue_directory}/maildrop: {error.strerror}; "
            f"post as a member of the group {config.setgid_group}"
        )
    if error.errno == errno.ENOENT:
        return EX_UNAVAILABLE, f"there is no queue in {config.queue_directory}: start the system once to make it"
    return EX_TEMPFAIL, f"cannot write into {config.queue_directory}/maildrop: {error.strerror}"


def wake_pickup(console: Console) -> None:
    """Tell pickup, if it is there. Whatever goes wrong only costs time: it looks by itself every minute."""
    path = public_path(console.config.pickup_service_name)
    try:
        knock(path)
    except OSError:
        return

    async def wake(bus: Bus) -> None:
        await bus.client(path).call(Wake(), Done, deadline=console.config.trigger_timeout)

    try:
        console.ask(wake)
    except BusError as error:
        console.log("warning", f"pickup was not woken: {error}; it looks by itself within a minute")


def read_chunks(source: BinaryIO) -> Iterator[bytes]:
    """The content. Raises Cancelled when it ends early, Fatal when it is malformed."""
    while True:
        line = source.readline(_LENGTH_DIGITS + 1)
        if not line.endswith(b"\n"):
            if len(line) > _LENGTH_DIGITS:
                raise Fatal(EX_DATAERR, "malformed input: a chunk's length is expected")
            raise Cancelled
        if not line[:-1].isdigit() or int(line) > CHUNK_LIMIT:
            raise Fatal(EX_DATAERR, "malformed input: a chunk's length is expected")
        length = int(line)
        if not length:
            return
        chunk = source.read(length)
        if len(chunk) < length:
            raise Cancelled
        yield chunk


def read_posting(source: BinaryIO) -> Posting:
    """What follows the content. Raises Cancelled, Fatal."""
    line = source.readline(LINE_LIMIT)
    if not line.endswith(b"\n"):
        if len(line) >= LINE_LIMIT:
            raise Fatal(EX_DATAERR, f"uid={os.getuid()}: malformed input: the envelope is too long")
        raise Cancelled
    try:
        return Posting.model_validate_json(line)
    except ValidationError as error:
        raise Fatal(EX_DATAERR, f"uid={os.getuid()}: malformed input: {error.errors()[0]['msg']}") from None


def interrupted(number: int, _frame: FrameType | None) -> None:
    """A signal ends the program by way of its ``finally``s, which remove the file."""
    raise SystemExit(128 + number)


def catch_signals() -> None:
    """The first of these signals unwinds; what the caller ignores stays ignored (nohup)."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupted)


def _say_id(queue_id: str) -> None:
    print(queue_id, flush=True)


def _work(console: Console, arguments: Sequence[str]) -> int:
    options, rest = read_options(console, arguments, "c:rv", _USAGE, EX_USAGE)
    for letter, value in options:
        if letter == "c":
            console.directory = value
        elif letter == "v" and os.geteuid() == 0:
            console.verbose += 1
    if rest:
        usage(console, _USAGE, EX_USAGE)
    console.open()
    catch_signals()
    source = sys.stdin.buffer
    try:
        queue_id = post(console, read_chunks(source), lambda: read_posting(source), _say_id)
    except Cancelled:
        return 0
    console.detail(f"posted as {queue_id}")
    wake_pickup(console)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    console = Console("postdrop")
    return run(console, lambda: _work(console, sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
