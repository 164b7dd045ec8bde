"""The template: a small process with everything imported, that forks the children.

Forking from it takes milliseconds and shares its memory; a fresh interpreter would take a tenth of a second and share
nothing. It has no threads and no ZeroMQ context, and it alone writes the register of children. What is imported the
master has imported before (``import_programs``), and runs none of it: so it is in memory once.

Master to template: one datagram, a Birth as JSON with its descriptors. Template to master: ``["born", token, pid]``,
``["unborn", token, reason]``, ``["died", pid, status]``.
"""

import array
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, cast

from tubepost.common.wire.master import EXIT_BOOT, Birth
from tubepost.common.system import log, memory
from tubepost.common.system.register import Register

from tubepost.master.children import QUEUE_MANAGER

_LIMIT = 65_536
# As many as one message may carry (SCM_MAX_FD): a service may listen on many addresses.
_FDS = 253
# What children would import at their first need: by then they may not be allowed to read it, and it is shared here.
_PRELOAD = (
    "uvloop",
    "asyncio.unix_events",
    "encodings.ascii",
    "encodings.idna",
    "encodings.latin_1",
    "encodings.punycode",
    "encodings.unicode_escape",
    "encodings.utf_8",
    "stringprep",
)

Programs = dict[str, Callable[[Birth], None]]
"""The ``main`` of each, by its folder."""


class Template:
    """The master's end."""

    def __init__(self, register_path: str, programs: Programs, tag: str, log_path: str, queue_lock: int = -1) -> None:
        """``programs``: of ``import_programs``. Raises OSError.

        ``queue_lock``: descriptor that queue managers, and no other children, inherit (``locks.QueueLock``)."""
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        log.flush()
        # What the collector does not look at it does not write to, and both go on sharing it; free memory as well.
        gc.collect()
        gc.freeze()
        memory.give_back()
        try:
            self.pid = os.fork()
        except BaseException:
            self.socket.close()
            theirs.close()
            raise
        if self.pid == 0:
            code = EXIT_BOOT
            try:
                # The master's listening sockets, locks and talks with its children are nothing to those forked here:
                # they would keep closed ports open, and one of them that is broken into could take others' callers.
                log.reset_after_fork()
                signal.set_wakeup_fd(-1)
                _close_all_but(0, 1, 2, theirs.fileno(), queue_lock)
                log.setup(tag, path=log_path)
                log.use_loop(lambda _: None)
                code = _serve(theirs, register_path, dict(programs), queue_lock)
            except BaseException as error:
                text = f"the template process failed: {type(error).__name__}: {error}"
                log.fatal(text)
                sys.stderr.write(f"master: fatal: {text}\n")
            finally:
                log.flush()
                os._exit(code)
        theirs.close()
        self.socket.setblocking(False)

    def fork(self, token: int, folder: str, birth: Birth, descriptors: Sequence[int]) -> None:
        """Ask for a child. ``descriptors`` in the order: sockets, control, flow ends, output. Raises OSError."""
        text = json.dumps([token, {**asdict(birth), "folder": folder}]).encode()
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        self.socket.sendmsg([text], ancillary)

    def forget(self, pid: int) -> None:
        """A child of a template before this one has ended, and was reaped by the master."""
        try:
            self.socket.send(json.dumps([0, pid]).encode())
        except OSError:
            pass  # it is ending itself; the next one looks for itself

    def events(self) -> list[list[Any]] | None:
        """What it said; None when it has ended."""
        found: list[list[Any]] = []
        while True:
            try:
                data = self.socket.recv(_LIMIT)
            except BlockingIOError:
                return found
            except OSError:
                return None
            if not data:
                return found or None
            found.append(json.loads(data))

    def close(self) -> None:
        self.socket.close()


def import_programs(folders: Sequence[str]) -> Programs:
    """The ``main`` of each, by folder, and all that they need. What cannot be imported is logged, and absent."""
    programs: Programs = {}
    for name in _PRELOAD:
        try:
            importlib.import_module(name)
        except ImportError as error:
            log.debug(f"{name}: {error}")
    for folder in folders:
        try:
            programs[folder] = program_of(folder)
        except Exception as error:  # one broken program must not keep the others from running
            log.error(f"program {folder} cannot be loaded: {type(error).__name__}: {error}")
    # The TLS library makes its tables with the first context: two MiB that all share then.
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    return programs


def program_of(folder: str) -> Callable[[Birth], None]:
    """The ``main`` of a program. Raises ImportError (no such program) or AttributeError."""
    module = importlib.import_module(f"tubepost.services.{folder}.__main__")
    return cast(Callable[[Birth], None], module.main)


def _close_all_but(*kept: int) -> None:
    """What Python objects of the master stand for is closed under them; this process never uses or frees them."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:
                pass  # the listing's own


def _serve(control: socket.socket, register_path: str, programs: Programs, queue_lock: int) -> int:
    # The terminal's Ctrl-C is for the master, which then stops everything in order.
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
    register = Register(register_path, write=True)
    # Left by a template before us: those that still live go on, and the master tells of their end.
    for pid in register.pids():
        if not os.path.exists(f"/proc/{pid}"):
            register.remove(pid)
    gc.collect()
    gc.freeze()
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    control.setblocking(True)
    selector = selectors.EpollSelector()
    selector.register(control, selectors.EVENT_READ)
    selector.register(wake_read, selectors.EVENT_READ)
    while True:
        log.flush()
        for key, _ in selector.select():
            if key.fd == wake_read:
                _drain(wake_read)
                _reap(control, register)
                continue
            text, ancillary, _, _ = control.recvmsg(_LIMIT, socket.CMSG_SPACE(_FDS * 4))
            if not text:
                return 0  # the master is gone; its children know by their own sockets
            descriptors = array.array("i")
            for _, _, data in ancillary:
                descriptors.frombytes(data[: len(data) - len(data) % 4])
            _fork(control, register, programs, text, list(descriptors), (wake_read, wake_write, queue_lock), selector)
            for fd in descriptors:
                os.close(fd)


def _drain(fd: int) -> None:
    try:
        while os.read(fd, 512):
            pass
    except BlockingIOError:
        pass


def _reap(control: socket.socket, register: Register) -> None:
    while True:
        try:
            # WNOWAIT first: the pid is not free for others before its register entry is cleared.
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None:
                return
            register.remove(found.si_pid)
            pid, status = os.waitpid(found.si_pid, 0)
        except ChildProcessError:
            return
        control.send(json.dumps(["died", pid, status]).encode())


def _fork(
    control: socket.socket,
    register: Register,
    programs: Programs,
    text: bytes,
    descriptors: list[int],
    own: tuple[int, int, int],
    selector: selectors.EpollSelector,
) -> None:
    token, fields = json.loads(text)
    if token == 0:
        register.remove(fields)
        return
    folder = fields.pop("folder")
    count = len(fields["sockets"])
    fields.update(
        sockets=tuple(descriptors[:count]),
        control=descriptors[count],
        flow=(descriptors[count + 1], descriptors[count + 2]),
        output=descriptors[count + 3],
        overrides=tuple((name, value) for name, value in fields["overrides"]),
        arguments=tuple(fields["arguments"]),
    )
    birth = Birth(**fields)
    main = programs.get(folder)
    if main is None:
        try:
            main = programs[folder] = program_of(folder)
        except (ImportError, AttributeError) as error:
            control.send(json.dumps(["unborn", token, f"program {birth.program}: {error}"]).encode())
            return
    try:
        pid = os.fork()
    except OSError as error:
        control.send(json.dumps(["unborn", token, f"cannot fork: {error.strerror}"]).encode())
        return
    if pid:
        control.send(json.dumps(["born", token, pid]).encode())
        return
    try:
        register.add(os.getpid(), birth.program, birth.service)
        register.close()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        selector.close()
        control.close()
        wake_read, wake_write, queue_lock = own
        os.close(wake_read)
        os.close(wake_write)
        if queue_lock >= 0 and birth.program != QUEUE_MANAGER:
            os.close(queue_lock)
        log.reset_after_fork()
        main(birth)
    except BaseException as error:
        sys.stderr.write(f"{birth.program}: {type(error).__name__}: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(EXIT_BOOT)
