"""What the queue's commands share: the instance's configuration, messages on standard error and in the log, the bus.

A command may be installed set-gid to setgid_group (by a wrapper: an interpreter's scripts cannot be): then it takes
over only import_environment, and only configuration directories that the default main.cf knows.
"""

import asyncio
import getopt
import os
import socket
import stat
import sys
import syslog
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NoReturn, TypeVar

from tubepost.common.system import control, log
from tubepost.common.bus import Bus
from tubepost.common.config import Config, ConfigError, load
from tubepost.common.tables import TableEnvironment
from tubepost.common.tables.users import forbidden

DEFAULT_DIRECTORY = "/etc/tubepost"
# sysexits.h
EX_OK, EX_USAGE, EX_DATAERR, EX_UNAVAILABLE, EX_SOFTWARE, EX_OSERR = 0, 64, 65, 69, 70, 71
EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 75, 77, 78

_LEVELS: dict[str, tuple[Callable[[str], None], int]] = {
    "info": (log.info, syslog.LOG_INFO),
    "warning": (log.warning, syslog.LOG_WARNING),
    "error": (log.error, syslog.LOG_ERR),
    "fatal": (log.fatal, syslog.LOG_CRIT),
    "panic": (log.panic, syslog.LOG_CRIT),
}

# As many as the kernel follows (path_resolution(7)).
_LINKS = 40

Answer = TypeVar("Answer")


class Fatal(Exception):
    """Ends the command: ``text`` for the user and the log, an exit status of sysexits.h."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Console:
    """One run of a command. ``name``: as it signs its messages."""

    config: Config

    def __init__(self, name: str) -> None:
        self.name = name
        self.verbose = 0
        self.tag = ""
        """In the log, and on standard error; empty: ``postfix/name`` there, the name here."""
        self.directory = os.environ.get("MAIL_CONFIG", "") or DEFAULT_DIRECTORY
        self.caller_directory = ""
        """Where relative file names of the user's begin, once ``open`` went to the queue directory."""
        self._logging = False
        self._syslog = False
        self._environment: TableEnvironment | None = None

    # -- the instance ------------------------------------------------------------------------------------------------

    def open(self, *, chdir: bool = True) -> Config:
        """Read main.cf, begin to log, go to the queue directory. Raises Fatal, ConfigError."""
        if self._borrowed_rights():
            self._check_directory()
        self.config = config = load(self.directory)
        if self._borrowed_rights():
            _clean_environment(config.import_environment)
        self._open_log()
        if chdir:
            try:
                self.caller_directory = os.getcwd()
            except OSError:
                # It was removed: no relative name leads anywhere, but mail is posted from there too.
                self.caller_directory = "/"
            try:
                os.chdir(config.queue_directory)
            except OSError as error:
                raise Fatal(EX_UNAVAILABLE, f"chdir {config.queue_directory}: {error.strerror}") from error
        return config

    @staticmethod
    def _borrowed_rights() -> bool:
        return os.getegid() != os.getgid() or os.geteuid() != os.getuid()

    def _check_directory(self) -> None:
        """Another's rights are not lent to a configuration of the user's own making. Raises Fatal."""
        if self.directory == DEFAULT_DIRECTORY or os.getuid() == 0:
            return
        try:
            known = load(DEFAULT_DIRECTORY).alternate_config_directories
        except ConfigError:
            known = ()
        if self.directory not in known:
            raise Fatal(
                EX_NOPERM,
                f"untrusted configuration directory {self.directory}: list it in alternate_config_directories in "
                f"{DEFAULT_DIRECTORY}/main.cf",
            )

    def environment(self) -> TableEnvironment:
        """For tables in this command; ``proxy:`` tables are not to be had here."""
        if self._environment is None:
            self._environment = TableEnvironment(
                self.directory,
                self.config.accounts_directory,
                self.config.default_database_type,
                warn=lambda text: self.report("warning", text),
            )
        return self._environment

    def forbidden(self, parameter: str, *, owner: bool) -> str:
        """The user's name when the list does not have it, else empty. ``owner``: root and mail_owner always may."""
        patterns: Sequence[str] = getattr(self.config, parameter)
        return asyncio.run(
            forbidden(parameter, patterns, os.getuid(), self.environment(), self.config.mail_owner if owner else "")
        )

    # -- messages ----------------------------------------------------------------------------------------------------

    def _open_log(self) -> None:
        """The log program's socket; while it does not run the file itself (when we may), or syslog."""
        config = self.config
        tag = self.tag or f"{config.syslog_name}/{self.name}"
        path = os.path.join(config.queue_directory, "public", config.postlog_service_name)
        if _listens(path, socket.SOCK_DGRAM):
            log.setup(tag, path=path)
        elif not config.maillog_file:
            syslog.openlog(tag, syslog.LOG_PID, syslog.LOG_MAIL)
            self._syslog = True
            return
        else:
            try:
                # A pipe is not waited at.
                flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
                fd = os.open(config.maillog_file, flags)
            except OSError:
                return
            if os.path.exists("/dev/stdout") and config.maillog_file == "/dev/stdout":
                os.close(fd)
                return
            if os.geteuid() == 0 and not leads_to(config.maillog_file, fd, (0,)):
                # The directory may be the log program's, and root has no business where its links lead.
                os.close(fd)
                return
            log.setup(tag, fd=fd)
        self._logging = True

    def log(self, level: str, text: str) -> None:
        """To the log only."""
        write, priority = _LEVELS[level]
        if self._logging:
            write(text)
        elif self._syslog:
            syslog.syslog(priority, log.clean(text if level == "info" else f"{level}: {text}"))

    def say(self, text: str) -> None:
        """To standard error only."""
        try:
            print(f"{self.tag or self.name}: {text}", file=sys.stderr, flush=True)
        except (OSError, ValueError):
            pass

    def report(self, level: str, text: str) -> None:
        """To both, as Postfix's commands do."""
        self.say(log.clean(text if level == "info" else f"{level}: {text}"))
        self.log(level, text)

    def info(self, text: str) -> None:
        self.report("info", text)

    def warning(self, text: str) -> None:
        self.report("warning", text)

    def detail(self, text: str) -> None:
        """With -v."""
        if self.verbose:
            self.info(text)

    # -- programs ----------------------------------------------------------------------------------------------------

    def ask(self, work: Callable[[Bus], Coroutine[Any, Any, Answer]]) -> Answer:
        """Run a conversation on the bus. Raises BusError, and what ``work`` raises."""

        async def talk() -> Answer:
            bus = Bus()
            try:
                return await work(bus)
            finally:
                bus.close()

        return asyncio.run(talk())


def ask_master(config: Config) -> Any:
    """What the running master knows. Raises OSError when there is none, ValueError."""
    # A socket's path may be 107 octets long at most, the queue directory's longer.
    queue = os.open(config.queue_directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return control.ask(os.path.join(f"/proc/self/fd/{queue}", config.process_id_directory), "status")
    finally:
        os.close(queue)


def public_path(service: str) -> str:
    """A service's socket below the queue directory."""
    return f"public/{service}"


def knock(path: str) -> None:
    """Is anybody there? Raises OSError as connect(2) does: ENOENT or ECONNREFUSED when the system is down."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:
            pass  # so many callers that the backlog is full: it is up


def leads_to(path: str, fd: int, owners: Sequence[int]) -> bool:
    """Is this the way to what is open there, when only links of these owners (uid) are followed? Raises OSError.

    The kernel is asked where that is: who swaps what is on the way at the right moment wins nothing.
    """
    return _resolved(path, owners) == os.readlink(f"/proc/self/fd/{fd}")


def _resolved(path: str, owners: Sequence[int]) -> str:
    """Where it is when only links of these owners are followed. Raises OSError."""
    here = ""
    left = path.split("/")[::-1]
    links = 0
    while left:
        part = left.pop()
        if part == "..":
            here = here.rpartition("/")[0]
        elif part not in ("", "."):
            step = f"{here}/{part}"
            found = os.lstat(step)
            if not stat.S_ISLNK(found.st_mode) or found.st_uid not in owners or links >= _LINKS:
                here = step
                continue
            links += 1
            target = os.readlink(step)
            here = "" if target.startswith("/") else here
            left += target.split("/")[::-1]
    return here


def _listens(path: str, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_UNIX, kind) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def _clean_environment(wanted: Sequence[str]) -> None:
    """import_environment: names to keep, name=value to set; nothing else passes."""
    kept = dict(os.environ)
    os.environ.clear()
    os.environ["PATH"] = "/usr/bin:/bin"
    for word in wanted:
        name, equals, value = word.partition("=")
        if equals:
            os.environ[name] = value
        elif name in kept:
            os.environ[name] = kept[name]


def run(console: Console, work: Callable[[], int], unexpected: int = EX_UNAVAILABLE) -> int:
    """The whole command: what goes wrong becomes one line and an exit status; ``unexpected``: for the rest."""
    try:
        status = work()
        sys.stdout.flush()
        return status
    except Fatal as error:
        console.report("fatal", str(error))
        return error.status
    except ConfigError as error:
        console.report("fatal", str(error))
        return unexpected
    except BrokenPipeError:
        # The reader has seen enough (mailq | head). Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EX_OK
    except OSError as error:
        console.report("fatal", f"{error.filename or 'system error'}: {error.strerror or error}")
        return unexpected
    except KeyboardInterrupt:
        return 130


def usage(console: Console, text: str, status: int = 1) -> NoReturn:
    raise Fatal(status, f"usage: {console.name} {text}")


def read_options(
    console: Console, arguments: Sequence[str], letters: str, text: str, status: int = 1
) -> tuple[list[tuple[str, str]], list[str]]:
    """(letter, value) of each option, and the other words. ``text``: how it is used. Raises Fatal with ``status``."""
    try:
        options, words = getopt.getopt(list(arguments), letters)
    except getopt.GetoptError as error:
        # getopt(3)'s words.
        missing = error.msg.endswith("requires argument")
        console.say(f"{'option requires an argument' if missing else 'invalid option'} -- '{error.opt}'")
        usage(console, text, status)
    return [(option[1], value) for option, value in options], words
