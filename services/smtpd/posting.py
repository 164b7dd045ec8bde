"""One message of a stand-alone session on its way into the maildrop queue, as postdrop puts it there.

Works while the mail system is down. Blocks: a stand-alone session has its process to itself.
"""

import subprocess
from collections.abc import Callable
from typing import Protocol

from tubepost.common.wire.cleanup import QUEUE_ID_MARK, Deposit, Deposited
from tubepost.common.wire.postdrop import Posting, encode_chunk, encode_end
from tubepost.common.spool import Spool
from tubepost.common.spool.maildrop import Drop, TooLarge

from tubepost.services.smtpd.deposit import Refused

# postdrop's first line on its standard output: its queue id, and LF.
_ID_LIMIT = 64
_TRY_AGAIN = "451 4.3.0 Error: queue file write error"


class Sink(Protocol):
    """Where a message goes: straight into the directory, or through the set-gid program. All raise OSError."""

    queue_id: str

    def write(self, chunk: bytes) -> None: ...
    def finish(self, posting: Posting) -> None: ...
    def cancel(self) -> None: ...


class OwnHands:
    """The caller may write into maildrop."""

    def __init__(self, limit: int) -> None:
        """``limit``: message_size_limit, bytes."""
        self._drop = Drop(Spool("."), limit)
        self.queue_id = self._drop.queue_id

    def write(self, chunk: bytes) -> None:
        """Raises TooLarge."""
        self._drop.write(chunk)

    def finish(self, posting: Posting) -> None:
        self._drop.finish(posting.envelope, posting.recipients)

    def cancel(self) -> None:
        self._drop.cancel()


class Helper:
    """postdrop may, and does it for us. It says the queue id first; its exit status is its answer."""

    def __init__(self, program: str, directory: str) -> None:
        """``directory``: of the configuration."""
        self._process = subprocess.Popen(
            [program, "-c", directory, "-r"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._input = self._process.stdin
        self.queue_id = self._process.stdout.readline(_ID_LIMIT).decode("ascii", "replace").strip()
        if not self.queue_id:
            self.cancel()
            raise OSError(f"{program} ended with status {self._process.returncode}")

    def write(self, chunk: bytes) -> None:
        self._input.write(encode_chunk(chunk))

    def finish(self, posting: Posting) -> None:
        self._input.write(encode_end(posting))
        self._close()
        if self._process.returncode:
            raise OSError(f"postdrop ended with status {self._process.returncode}")

    def cancel(self) -> None:
        """Input that ends early is forgotten."""
        self._close()

    def _close(self) -> None:
        try:
            self._input.close()
        except OSError:
            pass  # it is gone; its status says why
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


class Post:
    """What ``deposit.Message`` is where there is a cleanup program."""

    __slots__ = ("_ascii", "_build", "_error", "_make", "_sink", "_size", "_woken")

    def __init__(self, make: Callable[[], Sink], build: Callable[[bool], Deposit], woken: Callable[[], None]) -> None:
        """``make`` opens a sink; ``woken`` is called when a message is safe."""
        self._make = make
        self._build = build
        self._woken = woken
        self._sink: Sink | None = None
        self._error: OSError | TooLarge | None = None
        self._ascii = True
        self._size = 0

    @property
    def under_way(self) -> bool:
        """The envelope stands behind the content: it can be changed to the last."""
        return False

    def add(self, data: bytes) -> bool:
        """Never asks for ``send``: nothing is kept."""
        if self._error is None:
            try:
                self._write(data)
            except (OSError, TooLarge) as error:
                # The client is told when it has sent all.
                self._error = error
                self._release()
        return False

    def _write(self, data: bytes) -> None:
        sink = self._sink
        if sink is None:
            sink = self._sink = self._make()
            # Only lines that no checks ask for: the session's own Received.
            for line in self._build(True).prepend:
                sink.write(line.replace(QUEUE_ID_MARK, sink.queue_id).encode("utf-8", "surrogateescape") + b"\n")
        if self._ascii:
            self._ascii = data.isascii()
        self._size += len(data)
        sink.write(data)

    async def send(self) -> None:
        """Nothing is waiting."""

    async def finish(self) -> Deposited:
        """Raises Refused."""
        try:
            if self._error is not None:
                raise self._error
            self._write(b"")
            deposit = self._build(self._ascii)
            sink, self._sink = self._sink, None
            assert sink is not None
            try:
                sink.finish(Posting(envelope=deposit.envelope, recipients=deposit.recipients))
            except (OSError, TooLarge):
                sink.cancel()
                raise
        except TooLarge:
            raise Refused("552 5.3.4 Error: message file too big", "policy") from None
        except OSError as error:
            why = str(error.strerror or error)
            if isinstance(error, PermissionError):
                why = f"cannot write into maildrop: {why}; post as a member of setgid_group"
            raise Refused(_TRY_AGAIN, "resource", why) from error
        self._woken()
        return Deposited(queue_id=sink.queue_id, size=self._size)

    def _release(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.cancel()

    def cancel(self) -> None:
        """Forget it."""
        self._release()


def sink_maker(directory: str, program: str, limit: int, *, helped: bool) -> Callable[[], Sink]:
    """``program``: postdrop, which is used when ``helped``. The working directory is the queue's."""
    if helped:
        return lambda: Helper(program, directory)
    return lambda: OwnHands(limit)
