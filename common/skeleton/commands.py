"""Runs a command for a delivery: as its user, with the message on its standard input, for a limited time.

The child has its own session and process group, so that a time limit ends it with all that it started. Its output is
kept up to a limit and drained beyond it. What its end means is in ``verdict``, which is pure: Postfix's rules, by the
codes of sysexits.h.
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from shutil import which

from tubepost.common.mail import dsn
from tubepost.common.wire.delivery import RecipientStatus
from tubepost.common.wire.qmgr import QueuedRecipient
from tubepost.common.system import log
from tubepost.common.system.finish import to_the_end
from tubepost.common.system.identity import acting_as
from tubepost.common.system.privileges import unlimited_memory
from tubepost.common.config import Config
from tubepost.common.skeleton.deliveries import status_of

OUTPUT_LIMIT = 4096
"""Bytes of a command's output that are kept."""
SEARCH_PATH = "/usr/bin:/bin"
# At one time, of a child that writes without end.
_READS = 16

# sysexits.h: (enhanced status, words). What is not here is permanent.
SYSEXITS: Mapping[int, tuple[str, str]] = {
    64: ("5.3.0", "command line usage error"),
    65: ("5.6.0", "data format error"),
    66: ("5.3.0", "cannot open input"),
    67: ("5.1.1", "user unknown"),
    68: ("5.1.2", "host name unknown"),
    69: ("5.3.0", "service unavailable"),
    70: ("5.3.0", "internal software error"),
    71: ("4.3.0", "system resource problem"),
    72: ("5.3.0", "critical OS file missing"),
    73: ("5.2.0", "can't create user output file"),
    74: ("5.3.0", "input/output error"),
    75: ("4.3.0", "temporary failure"),
    76: ("5.5.0", "remote error in protocol"),
    77: ("5.7.0", "permission denied"),
    78: ("5.3.5", "local configuration error"),
}
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PLAIN_COMMAND = re.compile(r"[A-Za-z0-9!@%_=+:,./ \t-]*[A-Za-z0-9!@%_=+:,./-][A-Za-z0-9!@%_=+:,./ \t-]*")
# Run as root by the same interpreter; what cannot be done waits (EX_TEMPFAIL).
_CHROOT = """
import os, sys
root, folder, uid, gid = sys.argv[1:5]
try:
    os.chroot(root)
    os.chdir("/")
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))
    os.chdir(folder or "/")
    os.execvp(sys.argv[5], sys.argv[5:])
except OSError as error:
    print(f"cannot execute {sys.argv[5]} below {root}{folder}: {error.strerror}")
    sys.exit(75)
"""


@dataclass(frozen=True, slots=True)
class Command:
    """``words``: program and arguments; ``title``: how messages call it. ``uid`` and ``gid``: whose it runs as."""

    words: tuple[str, ...]
    title: str
    uid: int
    gid: int
    time_limit: float
    environment: Mapping[str, str]
    folder: str = ""
    root: str = ""


@dataclass(frozen=True, slots=True)
class Ending:
    """``status``: the exit status, negative for a signal. ``error``: why it could not be started or fed."""

    status: int = 0
    output: str = ""
    timed_out: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``dsn``: class 2 when the command took the message. ``diagnostic``: its own words (x-unix)."""

    dsn: str
    text: str
    diagnostic: str = ""

    def status(self, queued: QueuedRecipient, relay: str) -> RecipientStatus:
        kind = "x-unix" if self.diagnostic else ""
        return status_of(queued, self.dsn, self.text, relay, diagnostic_type=kind, diagnostic=self.diagnostic)


def verdict(title: str, ending: Ending) -> Verdict:
    """What the end of a command means. With success ``text`` is the command's output."""
    output = ending.output
    said = f". Command output: {output}" if output else ""
    own = output or SYSEXITS[70][1]
    if ending.error:
        return Verdict("4.3.0", f"temporary failure. Command output: {ending.error}", ending.error)
    if ending.timed_out:
        return Verdict("5.3.0", f'Command time limit exceeded: "{title}"{said}', own)
    if ending.status < 0:
        return Verdict(
            "4.3.0", f'Command died with signal {-ending.status}: "{title}"{said}', output or SYSEXITS[70][1]
        )
    if ending.status == 0:
        return Verdict("2.0.0", output)
    code, text = dsn.split(output)
    if code:
        if code[0] == "2":
            # It failed, whatever it says.
            code = dsn.with_class(code, "5")
        return Verdict(code, text, text)
    if ending.status in SYSEXITS:
        code, words = SYSEXITS[ending.status]
        return Verdict(code, f"{words}{said}", output or words)
    words = f"unknown mail system error {ending.status}"
    return Verdict("5.3.0", f'Command died with status {ending.status}: "{title}"{said}', output or words)


def printable(data: bytes) -> str:
    """Output as one line for a log and a report: white space becomes a blank, other control characters ``_``."""
    text = data.decode("utf-8", "replace").replace("\t", " ").replace("\n", " ").strip(" ")
    return _UNPRINTABLE.sub("_", text)


def split_command(text: str, shell: str = "") -> tuple[str, ...]:
    """Words to execute for a command line: by itself where nothing in it needs a shell, else through ``/bin/sh``.

    ``shell``: local_command_shell, which then gets the line as its last argument.
    """
    if shell:
        return (*shell.split(), text)
    if _PLAIN_COMMAND.fullmatch(text):
        words = tuple(text.split())
        # What is no program may be a word of the shell: "|exit 67".
        if "/" in words[0] or which(words[0], path=SEARCH_PATH) is not None:
            return words
    return ("/bin/sh", "-c", text)


def base_environment(config: Config) -> dict[str, str]:
    """The search path, and what export_environment lets through."""
    found = {}
    for item in config.export_environment:
        name, equals, value = item.partition("=")
        if equals:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
    found["PATH"] = SEARCH_PATH
    return found


def may_become(uid: int) -> str:
    """Empty when this process may act as the user, else why not, for a person."""
    own = os.geteuid()
    if own in (0, uid):
        return ""
    return f"cannot act as user id {uid}: this mail system runs without root, as user id {own}"


async def run(command: Command, content: Iterator[bytes]) -> Ending:
    """Run it to its end. Never raises for what the command does."""
    loop = asyncio.get_running_loop()
    refusal = may_become(command.uid)
    if refusal:
        return Ending(error=refusal)
    starting = loop.run_in_executor(None, _start, command)
    try:
        child = await to_the_end(starting)
    except OSError as error:
        name = error.filename or command.words[0]
        return Ending(error=f"cannot execute {name}: {error.strerror}")
    except asyncio.CancelledError:
        # It must not take the end of its input for the end of the message.
        if not starting.cancelled() and starting.exception() is None:
            _kill(starting.result())
            starting.result().wait()
        raise
    return await _Run(loop, child, content, command.time_limit).wait()


def _start(command: Command) -> "subprocess.Popen[bytes]":
    words = list(command.words)
    options: dict[str, object] = {}
    folder = command.folder
    if os.geteuid() == 0:
        if command.root:
            # Changing the root directory comes before the account and the folder, which Popen cannot do in this order.
            words = [sys.executable, "-I", "-S", "-c", _CHROOT, command.root, folder, str(command.uid)]
            words += [str(command.gid), *command.words]
            folder = ""
        else:
            options = {"user": command.uid, "group": command.gid, "extra_groups": []}
    elif command.root:
        raise OSError(1, "chroot= needs a mail system that runs as root", command.root)
    if folder:
        with acting_as(command.uid, command.gid):
            os.stat(f"{folder}/.")  # may the user be there?
    with unlimited_memory():
        child: subprocess.Popen[bytes] = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            cwd=folder or None,
            env=dict(command.environment),
            start_new_session=True,
            umask=0o077,
            **options,  # type: ignore[call-overload]
        )
    return child


class _Run:
    """Feeds, drains and ends one child, all by readiness of descriptors."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        child: "subprocess.Popen[bytes]",
        content: Iterator[bytes],
        limit: float,
    ) -> None:
        assert child.stdin is not None
        assert child.stdout is not None
        self._loop = loop
        self._child = child
        self._content = content
        self._input: int = child.stdin.fileno()
        self._output: int = child.stdout.fileno()
        self._pending: memoryview = memoryview(b"")
        self._kept = bytearray()
        self._timed_out = False
        self._error = ""
        self._ended: asyncio.Future[None] = loop.create_future()
        self._gone = False
        self._limit = limit

    async def wait(self) -> Ending:
        loop = self._loop
        for fd in (self._input, self._output):
            os.set_blocking(fd, False)
        watcher = os.pidfd_open(self._child.pid)
        loop.add_reader(watcher, self._end, watcher)
        loop.add_reader(self._output, self._read)
        loop.add_writer(self._input, self._write)
        timer = loop.call_later(self._limit, self._expire)
        try:
            await self._ended
        finally:
            timer.cancel()
            loop.remove_reader(watcher)
            os.close(watcher)
            if not self._gone:
                _kill(self._child)
            self._stop_writing()
            self._read()
            self._stop_reading()
        # The child is a zombie by now: this does not wait.
        status = self._child.wait()
        return Ending(status, printable(bytes(self._kept)), self._timed_out, self._error)

    def _end(self, watcher: int) -> None:
        self._loop.remove_reader(watcher)
        self._gone = True
        if self._input < 0:
            self._finish()
        # Else somebody whom it started may still read: it ends when the pipe breaks, or the message.

    def _finish(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _write(self) -> None:
        try:
            if not self._pending:
                piece = next(self._content, None)
                if piece is None:
                    self._stop_writing()
                    return
                self._pending = memoryview(piece)
            self._pending = self._pending[os.write(self._input, self._pending) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            # It reads no further: its exit status says what that means.
            self._stop_writing()
        except OSError as error:
            # The message could not be read: the command must not take half of it for the whole.
            self._error = f"error reading message: {error.strerror}"
            _kill(self._child)
            self._stop_writing()

    def _read(self) -> None:
        for _ in range(_READS):
            if self._output < 0:
                return
            try:
                data = os.read(self._output, 65536)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._stop_reading()
                return
            self._kept += data[: OUTPUT_LIMIT - len(self._kept)]

    def _stop_writing(self) -> None:
        if self._input >= 0:
            self._loop.remove_writer(self._input)
            self._input = -1
            assert self._child.stdin is not None
            self._child.stdin.close()
            if self._gone:
                self._finish()

    def _stop_reading(self) -> None:
        if self._output >= 0:
            self._loop.remove_reader(self._output)
            self._output = -1
            assert self._child.stdout is not None
            self._child.stdout.close()

    def _expire(self) -> None:
        self._timed_out = True
        _kill(self._child)
        self._stop_writing()


def _kill(child: "subprocess.Popen[bytes]") -> None:
    """It, and all of its group."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    except OSError as error:
        log.warning(f"cannot kill the command of process {child.pid}: {error.strerror}")
