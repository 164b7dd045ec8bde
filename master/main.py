"""The master's life: start, the loop, reload, stop."""

import grp
import os
import pwd
import resource
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from tubepost.common.wire.master import EXIT_CONFIG, STATUS_LIMIT, Birth, Order, decode_status
from tubepost.common.system import log, memory
from tubepost.common.system.control import LOCK, NAME
from tubepost.common.config import Config, ConfigError, layout, load
from tubepost.common.config.owners import bus_group, make_directories

from tubepost.master import control, measure, reload, sockets
from tubepost.master.children import QUEUE_MANAGER, Child, ServiceState
from tubepost.master.locks import AlreadyRunning, QueueLock, lock_instance
from tubepost.master.signals import Signals
from tubepost.master.spawn import Template, import_programs
from tubepost.master.stopping import Stop, kill
from tubepost.master.watch import Watch

EX_UNAVAILABLE = 69
_TICK = 0.5
# Stress stays on until a service has been below its limit for this long (Postfix: 1000 s).
_STRESS_CALM = 1000.0
_FULL_WARNING = 1000.0
# Before a template that died is replaced, so that one that cannot live does not take all the time there is.
_TEMPLATE_PAUSE = 1.0
# Births that the template is asked for at one time: far fewer than its socket takes.
_BIRTHS = 32
# Of what one child says as much is read in one turn: who never stops talking must not keep us from the others.
_STATUSES = 16
_LOG_PROGRAMS = ("log", "postlogd")
# Always there, whether somebody knocks or not.
_KEPT = (QUEUE_MANAGER, *_LOG_PROGRAMS)


class Master:
    """One instance."""

    def __init__(self, directory: str, ready_fd: int = -1, parent_fd: int = -1) -> None:
        """``ready_fd`` is told when the doors are open; at the end of ``parent_fd`` the system stops. -1: none."""
        self._directory = directory
        self._ready_fd = ready_fd
        self._parent_fd = parent_fd
        self._config = load(directory)
        self._selector = selectors.EpollSelector()
        self._states: dict[tuple[str, str], ServiceState] = {}
        self._sockets: dict[tuple[str, str], list[socket.socket]] = {}
        self._watched: set[tuple[str, str]] = set()
        self._controls: dict[int, socket.socket] = {}
        self._owners: dict[int, ServiceState] = {}
        self._births: dict[int, tuple[ServiceState, socket.socket, int, str]] = {}
        self._own_paths: dict[int, str] = {}
        self._token = 0
        self._generation = 0
        self._started = time.monotonic()
        self._template_ended: float | None = None
        self._stop: Stop | None = None
        self._owner = sockets.Owner(*self._account(self._config), bus_group(self._config))
        self._signals = Signals()
        self._watch = Watch(self._config, self._states, self._order)

    # -- start -------------------------------------------------------------------------------------------------------

    def _account(self, config: Config) -> tuple[int, int]:
        """uid and gid of mail_owner; without root our own. Raises ConfigError."""
        if os.geteuid() != 0:
            return os.geteuid(), os.getegid()
        try:
            owner = pwd.getpwnam(config.mail_owner)
        except KeyError:
            raise config.bad_value("mail_owner", f"there is no account {config.mail_owner}") from None
        return owner.pw_uid, owner.pw_gid

    def _maildrop_group(self) -> int:
        try:
            return grp.getgrnam(self._config.setgid_group).gr_gid
        except KeyError:
            return self._owner.gid

    def start(self) -> None:
        """Directories, lock, sockets, template. Raises ConfigError, OSError."""
        config = self._config
        root = config.queue_directory
        layout.create(root, self._owner.uid, self._owner.gid, self._maildrop_group(), self._owner.bus)
        os.makedirs(config.data_directory, 0o700, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(config.data_directory, self._owner.uid, self._owner.gid)
        layout.own(config.data_directory, 0o710, *self._owner)
        make_directories(config)
        os.chdir(root)
        self._lock = lock_instance(os.path.join(config.process_id_directory, LOCK))
        self._queue_lock = QueueLock(os.path.join(config.process_id_directory, "queue.lock"))
        sockets.sweep()
        self._subreaper()
        self._output = os.dup(1)
        self._flow = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for service in reload.read_services(self._directory, config).values():
            self._sockets[service.key] = sockets.open_service(service, config, self._owner)
            self._states[service.key] = ServiceState(service)
        log.setup(f"{config.syslog_name}/master", path=f"public/{config.postlog_service_name}")
        # The log program may be behind, or not there yet: the master waits for nobody, and flushes in its loop.
        log.use_loop(lambda _: None)
        if os.path.exists(os.path.join(config.process_id_directory, NAME)):
            log.warning("the master before this one did not end in order: what it had under way goes on from the queue")
        self._control = control.Control(config.process_id_directory)
        register = os.path.join(config.process_id_directory, "register")
        if os.path.exists(register):
            os.unlink(register)
        self._start_template()
        self._selector.register(self._signals.fd, selectors.EVENT_READ, self._on_signal)
        self._selector.register(self._control.listener, selectors.EVENT_READ, self._on_question)
        if self._parent_fd >= 0:
            self._selector.register(self._parent_fd, selectors.EVENT_READ, self._on_parent)
        self._ticked = time.monotonic()
        log.info(f"daemon started -- version {config.mail_version}, configuration {self._directory}")

    def _start_template(self) -> None:
        config = self._config
        folders = sorted({state.service.folder for state in self._states.values()})
        self._template = Template(
            os.path.join(config.process_id_directory, "register"),
            import_programs(folders),
            f"{config.syslog_name}/template",
            f"public/{config.postlog_service_name}",
            self._queue_lock.fd,
        )
        self._selector.register(self._template.socket, selectors.EVENT_READ, self._on_template)

    def _subreaper(self) -> None:
        """Children of a template that died come to us, not to process 1."""
        import ctypes

        pr_set_child_subreaper = 36
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_child_subreaper, 1, 0, 0, 0)

    # -- the loop ----------------------------------------------------------------------------------------------------

    def loop(self) -> int:
        """Until stopped. Returns the exit status."""
        for state in self._states.values():
            if state.service.program in _LOG_PROGRAMS:
                self._spawn(state)
        next_tick = 0.0
        while True:
            now = time.monotonic()
            if now >= next_tick:
                next_tick = now + _TICK
                if self._tick(now):
                    return 0
            for key, _ in self._selector.select(max(next_tick - time.monotonic(), 0)):
                key.data()
            if self._has_stopped(time.monotonic()):
                return 0
            if self._template_ended is None:
                self._balance(time.monotonic())
            log.flush()

    def _has_stopped(self, now: float) -> bool:
        return self._stop is not None and self._stop.step(now) and not self._births

    def _tick(self, now: float) -> bool:
        """Every half second. True when all is over."""
        self._reap_orphans()
        # What stopped the master (a frozen container, a debugger) kept it from hearing: that is nobody's silence.
        frozen, self._ticked = now - self._ticked - _TICK, now
        # Also of services that a reload has removed.
        for state in {id(state): state for state in self._owners.values()}.values():
            if frozen > _TICK:
                state.excuse(frozen)
            for pid in state.overdue(now, self._config.heartbeat_timeout):
                log.warning(f"{state.service.name}: process {state.service.program}[{pid}] does not answer: killed")
                state.children[pid].heard = now
                if not kill(pid, signal.SIGKILL):
                    self._died(pid, 0)
        if self._has_stopped(now):
            return True
        if self._template_ended is not None:
            if now - self._template_ended < _TEMPLATE_PAUSE:
                return False
            try:
                self._start_template()
            except OSError as error:
                self._template_ended = now
                log.error(f"cannot start the template process: {error.strerror}; tried again, children go on")
                return False
            self._template_ended = None
        if self._stop is not None:
            return False
        for state in self._states.values():
            if state.wakeup_due(now):
                self._wake(state)
            self._tend_stress(state, now)
            if not state.full:
                self._tell_crowded(state, False)
        self._watch.tick(now)
        self._balance(now)
        self._tell_ready()
        return False

    def _tell_ready(self) -> None:
        """Once: the doors are open and the queue manager lives."""
        if self._ready_fd < 0:
            return
        for state in self._states.values():
            if state.service.program == QUEUE_MANAGER and not self._queue_lock.held:
                continue
            if state.service.program in _KEPT and not any(c.ready for c in state.children.values()):
                return
        fd, self._ready_fd = self._ready_fd, -1
        try:
            os.write(fd, b"\n")
            os.close(fd)
        except OSError:
            pass

    def _balance(self, now: float) -> None:
        """Start what process_min_avail wants, and look at the sockets that no child looks at."""
        for key, state in self._states.items():
            if self._stop is not None:
                self._watch_door(key, state.watching(now) and not self._stop.has_come_to(state))
                continue
            if state.service.program in _KEPT:
                if state.serving == 0 and now >= state.throttled_until:
                    self._spawn(state)
                continue
            for _ in range(min(state.missing(now), _BIRTHS - len(self._births))):
                self._watch.before_growth(now)
                if state.frozen and state.serving:
                    break
                self._spawn(state)
            if state.full and state.service.kind == "inet":
                self._full(state, now)
            self._watch_door(key, state.watching(now))

    def _watch_door(self, key: tuple[str, str], wanted: bool) -> None:
        if wanted == (key in self._watched):
            return
        for listener in self._sockets[key]:
            if wanted:
                self._selector.register(listener, selectors.EVENT_READ, self._demand_of(key))
            else:
                self._selector.unregister(listener)
        (self._watched.add if wanted else self._watched.discard)(key)

    def _unwatch(self) -> None:
        for key in tuple(self._watched):
            self._watch_door(key, False)

    def _demand_of(self, key: tuple[str, str]) -> Callable[[], None]:
        def demand() -> None:
            if key not in self._watched:
                return  # no longer, since this turn of the loop began
            state = self._states[key]
            if state.available == 0:
                self._watch.before_growth(time.monotonic())
            if state.available == 0 and not state.at_limit:
                state.used = True
                self._spawn(state)

        return demand

    def _full(self, state: ServiceState, now: float) -> None:
        """Every process of a network service is full: stress (Postfix: STRESS_README)."""
        if now - state.full_warned > _FULL_WARNING:
            state.full_warned = now
            log.warning(
                f"service {state.service.name} has reached its process limit {state.limit}: new clients may experience "
                "noticeable delays; raise maxproc or client_limit in master.cf, or see the log for one busy client"
            )
        if state.stressed_since is None:
            self._set_stress(state, True)
        state.stressed_since = now
        self._tell_crowded(state, True)

    def _set_stress(self, state: ServiceState, wanted: bool) -> None:
        state.stressed_since = time.monotonic() if wanted else None
        log.info(f"service {state.service.name}: stress {'on' if wanted else 'off'}")
        for pid in state.children:
            self._order(pid, Order("stress-on" if wanted else "stress-off"))

    def _tend_stress(self, state: ServiceState, now: float) -> None:
        """Lowered limits are stress as well; it ends some time after its last reason."""
        pressed = state.service.kind == "inet" and self._watch.is_pressed(state)
        if pressed and state.stressed_since is None:
            self._set_stress(state, True)
        elif state.stressed_since is not None and (pressed or state.full):
            state.stressed_since = now
        elif state.stressed_since is not None and now - state.stressed_since > _STRESS_CALM:
            self._set_stress(state, False)

    def _tell_crowded(self, state: ServiceState, crowded: bool) -> None:
        """The processes of a full service let silent clients make way for new ones (``skeleton.crowd``)."""
        for pid, child in state.children.items():
            if child.crowded != crowded:
                child.crowded = crowded
                self._order(pid, Order("crowded" if crowded else "roomy"))

    # -- children ----------------------------------------------------------------------------------------------------

    def _spawn(self, state: ServiceState) -> None:
        service = state.service
        try:
            if service.program == QUEUE_MANAGER and (whose := self._queue_manager_before(state)):
                self._wait_for_queue(state, whose)
                return
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            self._throttle(state, f"cannot begin one: {error.strerror}")
            return
        ours.setblocking(False)
        overrides = service.overrides
        if state.stressed_since is not None and "stress" not in dict(overrides):
            overrides = (*overrides, ("stress", "yes"))
        listeners = list(self._sockets[service.key])
        self._token += 1
        own_path = f"{service.path}.{self._token}" if service.kind == "unix" else ""
        if own_path:
            try:
                mode = sockets.mode_of(service.program, self._owner, private=service.private)
                listeners.append(sockets.open_path(own_path, self._owner, mode))
            except OSError as error:
                ours.close()
                theirs.close()
                self._throttle(state, f"cannot make the socket {own_path}: {error.strerror}")
                return
        birth = Birth(
            service=service.name,
            program=service.program,
            kind=service.kind,
            path=service.path,
            own_path=own_path,
            config_directory=self._directory,
            overrides=overrides,
            arguments=service.arguments,
            verbose=service.verbose,
            unprivileged=service.unprivileged,
            generation=self._generation,
            sockets=tuple(listener.fileno() for listener in listeners),
        )
        state.pending += 1
        self._births[self._token] = (state, ours, self._generation, own_path)
        try:
            self._template.fork(
                self._token,
                service.folder,
                birth,
                [*birth.sockets, theirs.fileno(), self._flow[0], self._flow[1], self._output],
            )
        except OSError as error:
            self._unborn(self._token, f"the template does not answer: {error.strerror}")
        finally:
            theirs.close()
            if own_path:
                listeners[-1].close()

    def _queue_manager_before(self, state: ServiceState) -> str:
        """Whose it is that still has deliveries; empty: nobody's."""
        living = (*self._owners.values(), *(birth[0] for birth in self._births.values()))
        if any(other is not state and other.service.program == QUEUE_MANAGER for other in living):
            return "another line of master.cf"
        return "" if self._queue_lock.take() else "a master that was killed"

    def _wait_for_queue(self, state: ServiceState, whose: str) -> None:
        now = time.monotonic()
        state.throttled_until = now + _TICK
        if now - state.full_warned > _FULL_WARNING:
            state.full_warned = now
            log.warning(
                f"{state.service.name}: the queue manager of {whose} is finishing its deliveries: "
                "mail is accepted, and delivered once that process has ended"
            )

    def _unborn(self, token: int, reason: str) -> None:
        state, control, _, own_path = self._births.pop(token)
        control.close()
        sockets.remove(own_path)
        state.pending -= 1
        self._throttle(state, reason)

    def _throttle(self, state: ServiceState, reason: str) -> None:
        state.throttled_until = time.monotonic() + state.service.throttle_time
        log.warning(f"{state.service.name}: {reason}; no new process for {state.service.throttle_time:.0f}s")

    def _on_template(self) -> None:
        if self._template_ended is not None:
            return  # heard of in the same turn, at the death of a child (_reap_orphans)
        events = self._template.events()
        if events is None:
            self._selector.unregister(self._template.socket)
            self._template.close()
            for token in tuple(self._births):
                state, control, _, own_path = self._births.pop(token)
                control.close()
                sockets.remove(own_path)
                state.pending -= 1
            self._template_ended = time.monotonic()
            self._unwatch()
            log.warning("the template process ended: a new one is started, children go on")
            return
        for event in events:
            match event:
                case ["born", int(token), int(pid)]:
                    self._born(token, pid)
                case ["unborn", int(token), str(reason)]:
                    self._unborn(token, reason)
                case ["died", int(pid), int(status)]:
                    self._died(pid, status)

    def _born(self, token: int, pid: int) -> None:
        state, control, generation, self._own_paths[pid] = self._births.pop(token)
        now = time.monotonic()
        state.pending -= 1
        child = state.children[pid] = Child(pid, generation, now, now)
        self._owners[pid] = state
        self._controls[pid] = control
        self._selector.register(control, selectors.EVENT_READ, lambda: self._on_child(pid))
        if generation != self._generation or (self._stop is not None and self._stop.has_come_to(state)):
            child.stopping = True
            self._order(pid, Order("stop"))

    def _on_child(self, pid: int) -> None:
        control = self._controls.get(pid)
        if control is None:
            return  # its death was told in the same turn
        state = self._owners[pid]
        for _ in range(_STATUSES):
            try:
                data = control.recv(STATUS_LIMIT)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._selector.unregister(control)
                return  # its death is told by the template
            try:
                state.heard(pid, decode_status(data), time.monotonic())
            except ValueError:
                if not (child := state.children[pid]).babbles:
                    child.babbles = True
                    log.warning(f"process {state.service.program}[{pid}] sent a status that cannot be read")

    def _died(self, pid: int, status: int) -> None:
        state = self._owners.pop(pid, None)
        if state is None:
            return
        control = self._controls.pop(pid)
        sockets.remove(self._own_paths.pop(pid, ""))
        try:
            self._selector.unregister(control)
        except KeyError:
            pass
        control.close()
        if words := state.died(pid, status, time.monotonic()):
            log.warning(words)

    def _reap_orphans(self) -> None:
        """Processes that came to us: those of a dead template, and as process 1 of a container anybody's."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self._template_ended is None:
                # Of a child that a template bore and died with, the birth is heard of before the death.
                self._on_template()
            self._template.forget(pid)
            self._died(pid, status)

    def _order(self, pid: int, order: Order) -> None:
        try:
            self._controls[pid].send(order.encode())
        except (OSError, KeyError):
            pass  # it is dying, or hangs and will be found

    def _wake(self, state: ServiceState) -> None:
        if not state.children and not state.pending and time.monotonic() >= state.throttled_until:
            self._spawn(state)
        for pid in state.children:
            self._order(pid, Order("wake"))

    # -- signals, questions ------------------------------------------------------------------------------------------

    def _on_signal(self) -> None:
        for number in self._signals.taken():
            if number == signal.SIGHUP:
                if self._stop is None:
                    self._reload()
            elif number in (signal.SIGTERM, signal.SIGINT):
                self._begin_stop()
            elif number == signal.SIGCHLD:
                self._reap_orphans()

    def _on_question(self) -> None:
        self._control.answer({"status": self._status, "ready": lambda: {"ready": self._ready_fd < 0}})

    def _status(self) -> dict[str, Any]:
        """What ``tubepost status`` prints."""
        return {
            "pid": os.getpid(),
            "template": self._template.pid,
            "uptime": round(time.monotonic() - self._started),
            "version": self._config.mail_version,
            "memory": measure.memory_of(os.getpid()) + measure.memory_of(self._template.pid),
            "pressure_level": self._watch.level,
            "stopping": self._stop is not None,
            "services": control.rows(self._states.values(), time.monotonic()),
        }

    # -- reload ------------------------------------------------------------------------------------------------------

    def _reload(self) -> None:
        """Read the configuration again; old children finish what they have, new ones have the new one."""
        known = {key: state.service for key, state in self._states.items()}
        try:
            plan = reload.prepare(self._directory, known, self._sockets, self._owner)
        except (ConfigError, OSError) as error:
            log.error(f"reload refused, the old configuration stays: {error}")
            return
        config, services, opened = plan.config, plan.services, plan.opened
        self._config = config
        self._watch.take_config(config)
        self._generation += 1
        self._unwatch()
        for key, state in tuple(self._states.items()):
            for pid, child in state.children.items():
                child.stopping = True
                self._order(pid, Order("stop"))
            if key not in services or key in opened:
                for listener in self._sockets.pop(key):
                    listener.close()
            if key not in services:
                # Its children end with what they have; they are still counted until then.
                del self._states[key]
        self._sockets.update(opened)
        for key, service in services.items():
            there = self._states.get(key)
            if there is None:
                there = self._states[key] = ServiceState(service)
            else:
                there.service = service
                there.throttled_until = 0.0
                there.next_wakeup = 0.0
            self._watch.apply_to(there)
        log.info(f"reload -- version {config.mail_version}, configuration {self._directory}")

    # -- stop --------------------------------------------------------------------------------------------------------

    def _begin_stop(self) -> None:
        if self._stop is not None:
            return
        self._stop = Stop(self._owners, self._order, self._config.stop_timeout, time.monotonic())

    def _on_parent(self) -> None:
        """Nothing is ever written there: it is the end."""
        self._selector.unregister(self._parent_fd)
        os.close(self._parent_fd)
        log.info("whoever started this is gone")
        self._begin_stop()

    def finish(self) -> None:
        """After the loop: nothing of us stays."""
        self._template.close()
        self._control.close()


def run(directory: str, ready_fd: int = -1, parent_fd: int = -1) -> int:
    """Run the instance. Returns the exit status."""
    memory.be_frugal()
    # One a child, and the doors: more than what a shell gives us.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        master = Master(directory, ready_fd, parent_fd)
        master.start()
    except ConfigError as error:
        sys.stderr.write(f"master: fatal: {error}\n")
        return EXIT_CONFIG
    except AlreadyRunning as error:
        sys.stderr.write(f"master: fatal: {error}\n")
        return EX_UNAVAILABLE
    except OSError as error:
        sys.stderr.write(f"master: fatal: {error}\n")
        return EXIT_CONFIG
    status = master.loop()
    master.finish()
    return status
