"""smtpd without the master: one session on standard input and output (``sendmail -bs``; Postfix manual: sendmail(1)).

    python -I -m tubepost.services.smtpd.standalone [-c config_dir] [-v]

The client is whoever runs this, with that user's rights and no others: it may send to anywhere, as with sendmail, and
what it sends goes into the maildrop queue, as with postdrop, also while the mail system is down. No program and no
table is asked. A client of the network (inetd) is not served: nothing here would keep it from relaying.
"""

import argparse
import asyncio
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Literal

from tubepost.common.wire.cleanup import Deposit
from tubepost.common.wire.master import Birth
from tubepost.common.wire.trigger import Done, Wake
from tubepost.common.system import log
from tubepost.common.bus import Bus, BusError
from tubepost.common.config import Config, ConfigError, load
from tubepost.common.spool.maildrop import needs_helper
from tubepost.common.skeleton.process import Process, socket_path
from tubepost.common.skeleton.stream import Peer

from tubepost.services.smtpd.posting import Post, sink_maker
from tubepost.services.smtpd.restrictions.evaluation import Client
from tubepost.services.smtpd.server import Smtpd
from tubepost.services.smtpd.session import Session
from tubepost.services.smtpd.steps import Steps

_EX_UNAVAILABLE, _EX_CONFIG = 69, 78
_INPUT, _OUTPUT = 0, 1
_READ = 65_536
# What poll(2) calls writable takes at least so many bytes without waiting (POSIX: PIPE_BUF).
_WRITE = 4096
# How soon a signal is seen while the client does not read, seconds.
_SLICE = 0.5
# Pickup looks by itself every minute: waking it is not worth more of the user's time, seconds.
_WAKE_LIMIT = 2.0

_NOTHING = (
    "smtpd_client_restrictions smtpd_helo_restrictions smtpd_sender_restrictions smtpd_recipient_restrictions "
    "smtpd_data_restrictions smtpd_end_of_data_restrictions smtpd_etrn_restrictions smtpd_authorized_xclient_hosts "
    "smtpd_authorized_xforward_hosts smtpd_sasl_exceptions_networks smtpd_discard_ehlo_keyword_address_maps "
    "smtpd_reject_footer smtpd_reject_footer_maps smtpd_command_filter smtpd_sender_login_maps "
    "smtpd_sasl_mechanism_filter smtpd_dns_reply_filter local_recipient_maps virtual_mailbox_maps "
    "relay_recipient_maps virtual_alias_maps canonical_maps recipient_canonical_maps sender_canonical_maps "
    "rbl_reply_maps relay_clientcerts permit_mx_backup_networks mydestination notify_classes content_filter "
    "receive_override_options"
)
_ZERO = (
    "smtpd_client_connection_count_limit smtpd_client_connection_rate_limit smtpd_client_message_rate_limit "
    "smtpd_client_recipient_rate_limit smtpd_client_auth_rate_limit smtpd_client_new_tls_session_rate_limit"
)
_NO = (
    "smtpd_peername_lookup smtpd_reject_unlisted_sender smtpd_reject_unlisted_recipient smtpd_sasl_auth_enable "
    "smtpd_tls_wrappermode smtpd_forbid_unauth_pipelining"
)
SETTINGS = {
    **dict.fromkeys(_NOTHING.split(), ""),
    **dict.fromkeys(_ZERO.split(), "0"),
    **dict.fromkeys(_NO.split(), "no"),
    "smtpd_tls_security_level": "none",
    # Everything that comes this way comes from here.
    "mynetworks": "127.0.0.0/8",
    "smtpd_relay_restrictions": "permit_mynetworks, reject",
    "smtpd_client_event_limit_exceptions": "$mynetworks",
    "smtpd_authorized_verp_clients": "$mynetworks",
    # Programs write LF where RFC 5321 wants CR LF, and there is nobody else whose mail could be smuggled in.
    "smtpd_forbid_bare_newline_exclusions": "$mynetworks",
    # pickup believes a user no other encodings than these (Postfix: the same).
    "smtpd_discard_ehlo_keywords": "binarymime, silent-discard",
}
"""In place of what main.cf says: no judgement, no tables that this user may not read, no other program."""


class Standard(asyncio.Transport):
    """Standard input and output as one connection. Neither is made non-blocking: others may have them, too."""

    def __init__(self, session: Session, timeout: float) -> None:
        """``timeout``: seconds that the client may take to read a reply."""
        super().__init__()
        self._session = session
        self._loop = session.loop
        self._timeout = timeout
        self._closing = False
        self._told_to_end = False
        self._reading = False
        self._polled = True
        self._poll = select.poll()
        self._poll.register(_OUTPUT, select.POLLOUT)

    def begin(self) -> None:
        self._session.connection_made(self)
        self.resume_reading()

    def resume_reading(self) -> None:
        if self._reading or self._closing:
            return
        self._reading = True
        try:
            self._loop.add_reader(_INPUT, self._read)
        except PermissionError:
            # A plain file is always ready, and epoll will not have it.
            self._polled = False
            self._loop.call_soon(self._read)

    def pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            if self._polled:
                self._loop.remove_reader(_INPUT)

    def _read(self) -> None:
        if not self._reading:
            return
        try:
            data = os.read(_INPUT, _READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.pause_reading()
            self._session.eof_received()
            return
        if not self._polled:
            self._loop.call_soon(self._read)
        self._session.data_received(data)

    def write(self, data: "bytes | bytearray | memoryview[int]") -> None:
        view = memoryview(data)
        while view and not self._closing:
            try:
                self._wait_for_room()
                view = view[os.write(_OUTPUT, view[:_WRITE]) :]
            except OSError:
                self.abort()

    def _wait_for_room(self) -> None:
        """A client that does not read its replies is not read from either: nothing else is done meanwhile.

        Raises TimeoutError.
        """
        end = time.monotonic() + self._timeout
        while not self._poll.poll(_SLICE * 1000):
            if self._told_to_end or time.monotonic() > end:
                raise TimeoutError

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """Leave at once, and nothing half done behind."""
        self._told_to_end = True
        self._loop.call_soon_threadsafe(self.abort)

    def close(self) -> None:
        if not self._closing:
            self.pause_reading()
            self._closing = True
            self._loop.call_soon(self._session.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._closing


class Standalone(Smtpd):
    """One session; what it accepts is posted."""

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        self.over = asyncio.Event()
        self.ended = self.over.set
        self._wakings: set[asyncio.Task[None]] = set()
        config = process.config
        program = os.path.join(config.command_directory, "postdrop")
        self._helped = needs_helper(program)
        self._make = sink_maker(process.birth.config_directory, program, config.message_size_limit, helped=self._helped)

    def new_message(self, build: Callable[[bool], Deposit]) -> Post:
        return Post(self._make, build, self._wake_pickup)

    def rewrite_context(self, client: Client) -> Steps[Literal["local", "remote"]]:
        yield from ()
        return "local"

    def _wake_pickup(self) -> None:
        if not self._helped:
            task = self.process.loop.create_task(self._wake())
            self._wakings.add(task)
            task.add_done_callback(self._wakings.discard)

    async def _wake(self) -> None:
        service = self.process.config.pickup_service_name
        if not _listens(socket_path(self.process.config, service), socket.SOCK_STREAM):
            return
        try:
            await self.process.client(service).call(Wake(), Done, deadline=_WAKE_LIMIT)
        except BusError as error:
            log.warning(f"pickup was not woken: {error}; it looks by itself within a minute")

    async def serve(self) -> None:
        """The whole session."""
        await self.open()
        session = Session(self, Peer("127.0.0.1", 0, "127.0.0.1", 0, int(socket.AF_INET)))
        session.client.name = session.client.reverse_name = "localhost"
        session.client.name_status = session.client.reverse_status = "ok"
        self.sessions.add(session)
        transport = Standard(session, self.config.smtpd_timeout)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            # What the caller ignores stays ignored (nohup).
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, transport.on_signal)
        transport.begin()
        await self.over.wait()
        if self._wakings:
            await asyncio.wait(tuple(self._wakings))
        await self.close()


def _listens(path: str, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:
            return True  # so many callers that the backlog is full: it is there
        except OSError:
            return False
    return True


def client_of_network() -> bool:
    """Is standard input a connection from another host?"""
    try:
        with socket.socket(fileno=os.dup(_INPUT)) as peer:
            if peer.family not in (socket.AF_INET, socket.AF_INET6):
                return False
            address = str(peer.getpeername()[0])
    except OSError:
        return False
    return is_remote(address)


def is_remote(address: str) -> bool:
    """Does it stand for another host than this?"""
    return not (address.startswith(("127.", "::ffff:127.")) or address == "::1")


def _open_log(config: Config, verbose: bool) -> None:
    """The log program's socket; while it does not run the file itself, when this user may write it, or nowhere: what
    is on standard error would be taken for the session's by many a program.
    """
    tag = f"{config.syslog_name}/smtpd"
    path = os.path.join(config.queue_directory, "public", config.postlog_service_name)
    if _listens(path, socket.SOCK_DGRAM):
        log.setup(tag, verbose=verbose, path=path)
        return
    try:
        file = config.maillog_file or os.devnull
        fd = os.open(os.devnull if file == "/dev/stdout" else file, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except OSError:
        fd = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    log.setup(tag, verbose=verbose, fd=fd)


async def _live(birth: Birth, config: Config) -> None:
    loop = asyncio.get_running_loop()
    bus = Bus(loop)
    try:
        await Standalone(Process(birth, config, bus, None)).serve()
    finally:
        bus.close()


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="smtpd", description="An SMTP session on standard input and output.")
    parser.add_argument("-c", dest="directory", default=os.environ.get("MAIL_CONFIG", ""))
    parser.add_argument("-v", dest="verbose", action="store_true")
    options = parser.parse_args()
    if client_of_network():
        sys.stderr.write(
            "sendmail: fatal: a client of the network is not served on standard input: have the master listen for it "
            "(master.cf)\n"
        )
        return _EX_UNAVAILABLE
    birth = Birth(
        service="smtpd",
        program="smtpd",
        kind="inet",
        path="",
        own_path="",
        config_directory=options.directory,
        overrides=tuple(SETTINGS.items()),
        arguments=(),
        verbose=options.verbose,
        unprivileged=True,
        generation=0,
    )
    try:
        config = load(birth.config_directory, SETTINGS)
        _open_log(config, options.verbose)
        os.chdir(config.queue_directory)
        asyncio.run(_live(birth, config))
    except (ConfigError, OSError) as error:
        log.fatal(str(error))
        sys.stderr.write(f"sendmail: fatal: {error}\n")
        return _EX_CONFIG if isinstance(error, ConfigError) else _EX_UNAVAILABLE
    finally:
        log.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
