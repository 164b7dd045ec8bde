"""The one ceremony that every program lives by.

1. options      what the master says (``Birth``), or the command line when run alone
2. config       main.cf with this service's overrides
3. log          under the program's own name
4. directory    the queue directory, so that every path is relative and short
   prepare      what only root may read is read (private keys)
5. sandbox      privileges are dropped *before* the first byte of input, and before any thread exists
6. loop, bus    ZeroMQ's thread starts here, already confined
7. open, serve  until an order, a signal, max_use, or max_idle
8. farewell     finish what is under way, say goodbye to callers, flush the log
"""

import argparse
import asyncio
import gc
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from tubepost.common.wire.master import EXIT_BOOT, EXIT_CONFIG, STATUS_LIMIT, Birth, Status, decode_order
from tubepost.common.system import log, memory
from tubepost.common.system.register import Register
from tubepost.common.bus import Bus
from tubepost.common.config import Config, ConfigError, load
from tubepost.common.skeleton.privileges import ACCOUNT_FILES, account_of, confine
from tubepost.common.skeleton.process import Process, Service

# A leaving worker waits this long for callers that do not say goodbye.
_FAREWELL = 10.0
# A program whose master is gone finishes what it has begun, but those whom it waits for may be gone as well, and nobody
# starts others: after so many seconds it ends. Nothing that was accepted is in its memory alone.
_ORPHAN = 20.0
# With less than this many messages between two collections Python's garbage collector costs more than it frees.
_GC_THRESHOLD = 20_000
# A program that nears process_memory_limit ends its sessions, and is gone after so many seconds, whatever is under way.
_NARROW = 20.0
# Seconds from one time that memory is given back to the next, where enough was done between.
_TIDYING = 10.0


class Loop(Protocol):
    """What a skeleton gives to ``run``."""

    @property
    def service(self) -> Service: ...
    @property
    def stays(self) -> bool: ...
    @property
    def sessions(self) -> int: ...
    @property
    def served(self) -> int: ...
    @property
    def used(self) -> int: ...
    @property
    def full(self) -> bool: ...
    @property
    def idle(self) -> bool: ...
    def start(self) -> None: ...
    def on_change(self, callback: Callable[[], None]) -> None: ...
    def accept(self, wanted: bool) -> None: ...
    def leave(self) -> None: ...
    def close(self) -> None: ...


def run(
    program: str,
    make: Callable[[Process], Loop],
    birth: Birth | None = None,
    *,
    prepare: Callable[[Config], object] | None = None,
) -> None:
    """Live, and exit. ``make``: what a skeleton's ``serve`` returned.

    ``prepare``: called before privileges are dropped; what it returns is ``process.prepared``.
    """
    alone = birth is None
    if birth is None:
        birth = _alone(program)
    code = EXIT_BOOT
    try:
        config = load(birth.config_directory, dict(birth.overrides))
        log.setup(
            f"{config.syslog_name}/{_display_name(birth)}",
            verbose=birth.verbose,
            path="" if alone else os.path.join(config.queue_directory, "public", config.postlog_service_name),
        )
        _check_overrides(birth, config)
        os.chdir(config.queue_directory)
        register = _register(config)
        prepared = prepare(config) if prepare is not None else None
        if not alone:
            _tell_register(birth, config)
        limit = memory.Limit()
        narrow = confine(birth, config)
        limit.begin()
        code = _loop(_live(birth, config, register, make, prepared, limit, narrow))
    except ConfigError as error:
        _to_standard_error(birth)
        log.fatal(str(error))
        code = EXIT_CONFIG
    except KeyboardInterrupt:
        code = 0
    except MemoryError:
        memory.end()
    except Exception as error:
        _to_standard_error(birth)
        log.fatal(f"{type(error).__name__}: {error}")
        if birth.verbose or alone:
            traceback.print_exc()
    finally:
        log.use_loop(None)
        log.flush()
    sys.stdout.flush()
    os._exit(code) if not alone else sys.exit(code)


def _to_standard_error(birth: Birth) -> None:
    """The last words of the log program itself: nobody would read them in its own socket."""
    if birth.kind == "unix-dgram":
        log.setup(f"postfix/{birth.program}")


def _display_name(birth: Birth) -> str:
    """What the log calls it: ``relay/smtp`` is one word in Postfix's log, ``postfix/relay/smtp``, only on request."""
    return birth.program


def _check_overrides(birth: Birth, config: Config) -> None:
    """A wrong -o of master.cf is found at the start, not by the first client. Raises ConfigError."""
    for name, _ in birth.overrides:
        try:
            config.get(name)
        except KeyError:
            pass  # a name of the administrator's own


def _register(config: Config) -> Register | None:
    try:
        return Register(os.path.join(config.process_id_directory, "register"))
    except FileNotFoundError:
        return None  # run alone: every caller is a user


def _tell_register(birth: Birth, config: Config) -> None:
    """By which uid callees may know us; nobody of another has our pid's rights. Raises ConfigError, OSError."""
    try:
        register = Register(os.path.join(config.process_id_directory, "register"), write=True)
    except PermissionError:
        return  # not made by a master of ours: a user
    register.confined(os.getpid(), account_of(birth, config))
    register.close()


def _alone(program: str) -> Birth:
    """``python -m tubepost.services.anvil -c DIR``: one program by itself, to debug it."""
    parser = argparse.ArgumentParser(prog=program, description="Run one tubepost program alone, without the master.")
    parser.add_argument(
        "-c", dest="directory", default=os.environ.get("MAIL_CONFIG", ""), help="configuration directory"
    )
    parser.add_argument("-o", dest="overrides", action="append", default=[], metavar="name=value")
    parser.add_argument("-l", dest="listen", default="", help="address:port or socket path below the queue directory")
    parser.add_argument("-v", dest="verbose", action="store_true")
    parser.add_argument("arguments", nargs="*")
    options = parser.parse_args()
    overrides = tuple((pair.partition("=")[0], pair.partition("=")[2]) for pair in options.overrides)
    config = load(options.directory, dict(overrides))
    listen = options.listen or f"private/{program}"
    inet = "/" not in listen
    if inet:
        host, _, port = listen.rpartition(":")
        listener = socket.create_server((host, int(port)))
        sockets: tuple[int, ...] = (listener.detach(),)
    else:
        os.chdir(config.queue_directory)
        listener = socket.socket(socket.AF_UNIX)
        own = socket.socket(socket.AF_UNIX)
        for path, door in ((listen, listener), (f"{listen}.alone", own)):
            if os.path.exists(path):
                os.unlink(path)
            door.bind(path)
            door.listen(128)
        sockets = (listener.detach(), own.detach())
    return Birth(
        service=program,
        program=program,
        kind="inet" if inet else "unix",
        path="" if inet else listen,
        own_path="" if inet else f"{listen}.alone",
        config_directory=options.directory,
        overrides=overrides,
        arguments=tuple(options.arguments),
        verbose=options.verbose,
        unprivileged=False,
        generation=0,
        sockets=sockets,
    )


def _loop(life: Coroutine[Any, Any, int]) -> int:
    try:
        import uvloop

        runner: Callable[[Any], int] = uvloop.run
    except ImportError:
        runner = asyncio.run
    gc.set_threshold(_GC_THRESHOLD, 20, 20)
    try:
        return runner(life)
    finally:
        # It may have ended by an exception, and what is to be said about that needs no loop.
        log.use_loop(None)


async def _live(
    birth: Birth,
    config: Config,
    register: Register | None,
    make: "Callable[[Process], Loop]",
    prepared: object,
    limit: memory.Limit,
    narrow: bool,
) -> int:
    running = asyncio.get_running_loop()
    running.set_exception_handler(uncaught)
    log.use_loop(running.call_soon, running.call_later)
    bus = Bus(running)
    process = Process(birth, config, bus, register)
    process.prepared = prepared
    loop = make(process)
    await loop.service.open()
    loop.start()
    code = await Life(process, loop, limit, narrow).serve()
    await loop.service.close()
    loop.close()
    bus.close()
    return code


def uncaught(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Of a callback, or a task that nobody awaited. (asyncio's own way is standard error, which nobody may read.)"""
    error = context.get("exception")
    if isinstance(error, MemoryError):
        memory.end()
    log.panic(f"{context['message']}: {log.describe(error)}" if error is not None else context["message"])


def _account_files() -> list[tuple[int, int]]:
    """Which ones there are now; a file that is replaced is another."""
    return [(found.st_dev, found.st_ino) for path in ACCOUNT_FILES if (found := _stat(path)) is not None]


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


class Life:
    """Steps 7 and 8: reports to the master, obeys it, and knows when to go."""

    def __init__(self, process: Process, loop: Loop, limit: memory.Limit, narrow: bool = False) -> None:
        """``narrow``: as ``confine`` said."""
        self._process = process
        self._loop = loop
        self._config = process.config
        self._available = True
        self._leaving = False
        self._done = asyncio.Event()
        self._last_work = time.monotonic()
        self._last_served = -1
        self._last_report = 0.0
        self._tidying = memory.Tidying(_TIDYING)
        self._limit = limit
        fd = process.birth.control
        self._control = socket.socket(fileno=fd) if fd >= 0 else None
        self._accounts = _account_files() if narrow else None
        self._waking: asyncio.Task[None] | None = None
        self._wake_again = False
        process.wake = self._wake
        process.retire = self._retire

    async def serve(self) -> int:
        running = self._process.loop
        if self._control is not None:
            self._control.setblocking(False)
            running.add_reader(self._control.fileno(), self._obey)
        for number in (signal.SIGTERM, signal.SIGINT):
            running.add_signal_handler(number, self._leave, True)
        self._loop.on_change(self._changed)
        self._report()
        ticker = running.create_task(self._tick())
        await self._done.wait()
        ticker.cancel()
        self._report()
        if self._control is not None:
            running.remove_reader(self._control.fileno())
        return 0

    async def _tick(self) -> None:
        """Heartbeat, idleness, use."""
        interval = min(self._config.heartbeat_interval, 1.0)
        while True:
            await asyncio.sleep(interval)
            now = time.monotonic()
            loop = self._loop
            if loop.served != self._last_served or not loop.idle:
                self._last_served = loop.served
                self._last_work = now
            if now - self._last_report >= self._config.heartbeat_interval:
                self._report()
            self._tidying.tick()
            if not self._leaving and self._limit.is_near:
                self._outgrown()
            tired = now - self._last_work >= self._config.max_idle or loop.used >= self._config.max_use
            if tired and not loop.stays and not self._leaving and self._control is not None:
                self._leave(False)
            if self._accounts is not None and self._accounts != _account_files():
                self._accounts = None
                self._retire()  # the next one has the new ones
            if self._leaving:
                self._check_farewell()

    def _changed(self) -> None:
        """Availability is told at once; numbers wait for the heartbeat."""
        available = not self._leaving and not self._loop.full
        if available != self._available:
            self._available = available
            self._loop.accept(available)
            self._report()
        if self._leaving:
            self._check_farewell()

    def _report(self) -> None:
        self._last_report = time.monotonic()
        if self._control is None:
            return
        status = Status(self._available, self._loop.sessions, self._loop.served, True, self._leaving)
        try:
            self._control.send(status.encode())
        except BlockingIOError:
            pass  # the master is busy: the next heartbeat says the same
        except OSError:
            self._orphaned()

    def _obey(self) -> None:
        assert self._control is not None
        while True:
            try:
                data = self._control.recv(STATUS_LIMIT)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._process.loop.remove_reader(self._control.fileno())
                self._orphaned()
                return
            try:
                verb = decode_order(data).verb
            except (ValueError, json.JSONDecodeError) as error:
                log.warning(f"order of the master not understood: {error}")
                continue
            if verb == "stop":
                self._leave(True)
            elif verb == "hurry":
                self._process.hurried.set()
                self._leave(True)
            elif verb == "wake":
                self._wake()
            elif verb in ("crowded", "roomy"):
                self._process.set_crowded(verb == "crowded")
            else:
                self._process.set_stress(verb == "stress-on")

    def _outgrown(self) -> None:
        """While it still can: another takes over, and what is asked of us is answered."""
        used, limit = self._limit.used() >> 20, self._limit.limit >> 20
        log.warning(f"uses {used} MiB of the {limit} MiB of process_memory_limit: it ends, and another process goes on")
        self._process.hurried.set()
        self._leave(True)
        self._process.loop.call_later(_NARROW, self._done.set)

    def _orphaned(self) -> None:
        self._process.hurried.set()
        self._process.bus.abandon()
        self._leave(True)
        self._process.loop.call_later(_ORPHAN, self._done.set)

    def _wake(self) -> None:
        if self._waking is not None and not self._waking.done():
            self._wake_again = True
            return
        self._waking = self._process.loop.create_task(self._woken())

    async def _woken(self) -> None:
        while True:
            self._wake_again = False
            self._last_work = time.monotonic()
            try:
                await self._loop.service.woken()
            except Exception as error:
                log.panic(f"wake-up failed: {log.describe(error)}")
            if not self._wake_again:
                return

    def _retire(self) -> None:
        # Run alone there is nobody who would start another.
        if self._control is not None:
            self._leave(False)

    def _leave(self, told: bool) -> None:
        """Take no more work. ``told``: by the master or a signal, not for idleness."""
        if told:
            self._process.stopping.set()
        if self._leaving:
            return
        self._leaving = True
        self._available = False
        self._farewell = time.monotonic() + _FAREWELL
        self._loop.leave()
        self._report()
        self._check_farewell()

    def _check_farewell(self) -> None:
        done = self._loop.idle and (self._waking is None or self._waking.done())
        # Callers that do not say goodbye are not waited for longer than this, unless work is under way.
        abandoned = self._loop.sessions == 0 and not self._loop.service.busy and time.monotonic() > self._farewell
        if done or abandoned:
            self._done.set()
