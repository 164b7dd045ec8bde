"""The program: what all its sessions share."""

import asyncio
import os
import ssl

from tubepost.common.wire import auth
from tubepost.common.wire.auth import User
from tubepost.common.system import log
from tubepost.common.system.commit import GroupCommit
from tubepost.common.mailbox.maildir import MaildirStore
from tubepost.common.tables import TableError
from tubepost.common.tables.match import HostList
from tubepost.common.skeleton import stream
from tubepost.common.skeleton.notices import Notices
from tubepost.common.skeleton.process import Process
from tubepost.common.skeleton.tables import table_environment
from tubepost.common.skeleton.tls import ServerTls

from tubepost.services.lmtpd.protocol import Settings
from tubepost.services.lmtpd.session import Session


class Lmtpd(stream.Service):
    """One process, many sessions."""

    tls: ServerTls

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        self.sessions: set[Session] = set()
        self.acts = os.geteuid() == 0
        """Mailboxes may belong to others than this process."""
        self._hurry: asyncio.Task[None] | None = None
        self._tables = table_environment(process)
        self._clients = HostList("lmtpd_authorized_clients", self.config.lmtpd_authorized_clients, self._tables)
        self._take_config()
        process.on_stress.append(self._take_config)

    def _take_config(self) -> None:
        self.config = config = self.process.config
        self.settings = Settings(
            myhostname=config.myhostname,
            banner=config.lmtpd_greeting,
            size_limit=config.message_size_limit,
            line_limit=config.line_length_limit,
            recipient_limit=config.lmtpd_recipient_limit,
            error_limit=config.lmtpd_error_limit,
            smtputf8=config.smtputf8_enable,
            policy=config.smtpd_forbid_bare_newline,
        )

    async def open(self) -> None:
        self.tls = ServerTls(self.process, "lmtpd")
        self._commit = GroupCommit()
        self._notices = Notices(self.process)
        self.store = MaildirStore(self.config.virtual_mailbox_base, self._commit, self._notices.tell)
        self._auth = self.process.client(self.config.auth_service_name)
        self._hurry = self.process.loop.create_task(self._watch())

    async def close(self) -> None:
        if self._hurry is not None:
            self._hurry.cancel()
        self._commit.close()
        self._notices.close()
        self._tables.close()

    @property
    def guests(self) -> set[Session]:
        return self.sessions

    @property
    def farewell(self) -> bytes:
        if self.tls.wrapper:
            # Nothing can be said before TLS is there, and there is no slot for that.
            return b""
        return f"421 4.3.2 {self.config.myhostname} Error: too many clients, come again later\r\n".encode()

    def wrapping(self) -> tuple[ssl.SSLContext | None, float] | None:
        return self.tls.wrapping()

    def connected(self, peer: stream.Peer) -> asyncio.Protocol:
        session = Session(self, peer)
        self.sessions.add(session)
        return session

    def forget(self, session: Session) -> None:
        """The session is over."""
        self.sessions.discard(session)
        self.ended()

    async def _watch(self) -> None:
        await self.process.hurried.wait()
        for session in tuple(self.sessions):
            session.leave()

    async def may_connect(self, address: str) -> bool:
        """Over TCP."""
        try:
            return await self._clients.match("", address)
        except TableError as error:
            log.warning(f"lmtpd_authorized_clients: {error}")
            return False

    async def look_up(self, address: str) -> User:
        """Raises BusError, Refusal among them."""
        return await self._auth.call(auth.Lookup(name=address, scope="lmtp"), User)

    def owner(self, user: User) -> tuple[int, int]:
        return (user.uid, user.gid) if self.acts and user.uid >= 0 else (-1, -1)
