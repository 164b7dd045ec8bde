"""postqueue: the queue for everybody: list it, have it tried now (Postfix manual: postqueue(1)).

    postqueue [-c config_dir] [-v] -p          list, as mailq
    postqueue [-c config_dir] [-v] -j          list, one JSON object a line
    postqueue [-c config_dir] [-v] -f          try all deferred mail now
    postqueue [-c config_dir] [-v] -i id       try one message now
    postqueue [-c config_dir] [-v] -s site     try the mail for one of fast_flush_domains now

authorized_mailq_users and authorized_flush_users say who may. While the system is down root can still list. Exit status
of sysexits(3): 64 usage, 69 the system is down or does not answer, 77 not allowed.
"""

import errno
import ipaddress
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence

from tubepost.common.wire import flush, qmgr
from tubepost.common.wire.base import Done, Message
from tubepost.common.wire.showq import Entry, List
from tubepost.common.system.ids import is_queue_id
from tubepost.common.bus import Bus, BusError, Refusal
from tubepost.common.spool import Spool
from tubepost.common.spool.listing import entries

from tubepost.commands.console import (
    EX_NOPERM,
    EX_OK,
    EX_SOFTWARE,
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
from tubepost.commands.postdrop import wake_pickup
from tubepost.commands.queue_listing import Json, Table

_USAGE = "-f | postqueue -i queueid | postqueue -j | postqueue -p | postqueue -s site"
_DOWN = "Cannot flush mail queue - mail system is down"
_HOST = re.compile(r"(?=.{1,255}\Z)(?!-)[A-Za-z0-9_-]{1,63}(?:\.(?!-)[A-Za-z0-9_-]{1,63})*")
# Orders are taken at once; a program that does not answer for so long has a fault, seconds.
_PATIENCE = 60.0
_NOT_THERE = (errno.ENOENT, errno.ECONNREFUSED)


def _printer(console: Console, as_json: bool) -> tuple[Callable[[Entry], None], Callable[[], None]]:
    """What to do with each entry, and at the end. Output goes out a portion at a time, the first at once."""
    write = sys.stdout.write
    if as_json:
        form = Json(utf8=console.config.smtputf8_enable)

        def show_json(entry: Entry) -> None:
            write("".join(form.pieces(entry)))

        return show_json, lambda: _finish(form.end())
    table = Table(long_ids=console.config.enable_long_queue_ids)
    first = True

    def show(entry: Entry) -> None:
        nonlocal first
        write("".join([f"{line}\n" for line in table.lines(entry)]))
        if first:
            first = False
            sys.stdout.flush()

    return show, lambda: _finish(f"{line}\n" for line in table.end())


def _finish(texts: Iterable[str]) -> None:
    sys.stdout.write("".join(texts))
    sys.stdout.flush()


def _list(console: Console, as_json: bool) -> int:
    config = console.config
    show, end = _printer(console, as_json)
    path = public_path(config.showq_service_name)
    try:
        knock(path)
    except OSError as error:
        why = f"(Connect to the {config.mail_name} {config.showq_service_name} service: {error.strerror})"
        if error.errno not in _NOT_THERE:
            raise Fatal(
                EX_SOFTWARE, f"Connect to the {config.mail_name} {config.showq_service_name} service: {error.strerror}"
            ) from None
        if not _may_read_queue():
            raise Fatal(EX_UNAVAILABLE, f"Queue report unavailable - mail system is down {why}") from None
        console.warning(f"Mail system is down -- accessing queue directly {why}")
        spool = Spool(".", tuple(config.hash_queue_names), config.hash_queue_depth)
        for entry in entries(spool, limit=config.duplicate_filter_limit):
            show(entry)
        end()
        return EX_OK

    async def listen(bus: Bus) -> None:
        async for entry in bus.client(path, deadline=config.ipc_timeout).listing(List(), Entry):
            show(entry)

    try:
        console.ask(listen)
    except Refusal as error:
        raise Fatal(EX_NOPERM, str(error)) from None
    except BusError as error:
        raise Fatal(EX_UNAVAILABLE, f"Queue report unavailable - {error}") from None
    end()
    return EX_OK


def _may_read_queue() -> bool:
    """Root, or who runs an instance without root."""
    return os.geteuid() == 0 or os.access("deferred", os.R_OK | os.X_OK)


def _flush(console: Console, service: str, message: Message, what: str) -> int:
    user = console.forbidden("authorized_flush_users", owner=True)
    if user:
        # Said here for a clear answer; who is asked checks it again.
        raise Fatal(EX_NOPERM, f"User {user}({os.getuid()}) is not allowed to flush the mail queue")
    path = public_path(service)
    try:
        knock(path)
    except OSError as error:
        if error.errno in _NOT_THERE:
            raise Fatal(EX_UNAVAILABLE, _DOWN) from None
        name = console.config.mail_name
        raise Fatal(EX_SOFTWARE, f"Connect to the {name} {service} service: {error.strerror}") from None

    async def order(bus: Bus) -> None:
        await bus.client(path).call(message, Done, deadline=min(console.config.ipc_timeout, _PATIENCE))

    try:
        console.ask(order)
    except Refusal as error:
        status = EX_NOPERM if error.refused.dsn == "5.7.1" else EX_UNAVAILABLE
        raise Fatal(status, str(error) or f"{what} was refused") from None
    except BusError as error:
        raise Fatal(EX_UNAVAILABLE, f"Cannot flush mail queue - {error}") from None
    return EX_OK


def _flush_all(console: Console) -> int:
    _flush(console, console.config.queue_service_name, qmgr.Flush(), "the flush")
    wake_pickup(console)
    return EX_OK


def _cut(text: str) -> str:
    return text if len(text) <= 100 else text[:100] + "..."


def _flush_site(console: Console, site: str) -> int:
    if not _is_destination(site):
        raise Fatal(EX_USAGE, f'Cannot flush mail queue - invalid destination: "{_cut(site)}"')
    return _flush(
        console,
        console.config.flush_service_name,
        flush.SendSite(site=site),
        f'Flush service is not configured for destination "{site}"',
    )


def _is_destination(site: str) -> bool:
    if site.startswith("[") and site.endswith("]"):
        try:
            ipaddress.ip_address(site[1:-1].removeprefix("IPv6:").removeprefix("ipv6:"))
        except ValueError:
            return False
        return True
    return _HOST.fullmatch(site) is not None


def _flush_message(console: Console, queue_id: str) -> int:
    if not is_queue_id(queue_id):
        raise Fatal(EX_USAGE, f'Cannot flush queue ID - invalid name: "{_cut(queue_id)}"')
    return _flush(console, console.config.queue_service_name, qmgr.FlushMessage(queue_id=queue_id), queue_id)


def _work(console: Console, arguments: Sequence[str]) -> int:
    options, rest = read_options(console, arguments, "c:fi:jps:v", _USAGE, EX_USAGE)
    modes: list[tuple[str, str]] = []
    for letter, value in options:
        if letter == "c":
            console.directory = value
        elif letter == "v":
            console.verbose += os.geteuid() == 0
        else:
            modes.append((letter, value))
    if len(modes) != 1 or rest:
        usage(console, _USAGE, EX_USAGE)
    console.open()
    ((mode, value),) = modes
    if mode == "f":
        return _flush_all(console)
    if mode == "i":
        return _flush_message(console, value)
    if mode == "s":
        return _flush_site(console, value)
    return _list(console, mode == "j")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    console = Console("postqueue")
    return run(console, lambda: _work(console, sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
