"""The program: what all its sessions share."""

import os

from tubepost.common.wire import auth
from tubepost.common.wire.auth import User
from tubepost.common.system import log
from tubepost.common.system.commit import GroupCommit
from tubepost.common.mailbox.opening import open_deliveries
from tubepost.common.tables import TableError
from tubepost.common.tables.match import HostList
from tubepost.common.skeleton.conversation import Server
from tubepost.common.skeleton.notices import Notices
from tubepost.common.skeleton.process import Process
from tubepost.common.skeleton.stream import Peer
from tubepost.common.skeleton.tables import table_environment
from tubepost.common.skeleton.tls import ServerTls

from tubepost.services.lmtpd.protocol import Settings
from tubepost.services.lmtpd.session import Session

# The client waits for the answer to RCPT meanwhile, seconds; it does so for five minutes (RFC 5321 4.5.3.2.3).
_DEADLINE = 60.0


class Lmtpd(Server[Session]):
    """One process, many sessions."""

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        self.acts = os.geteuid() == 0
        """Mailboxes may belong to others than this process."""
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
        self.store = open_deliveries(self.config.virtual_mailbox_base, self._commit, self._notices.tell)
        self._auth = self.process.client(self.config.auth_service_name)
        self.end_sessions(self.process.hurried)

    async def close(self) -> None:
        await super().close()
        self._commit.close()
        self._notices.close()
        self._tables.close()

    @property
    def farewell(self) -> bytes:
        if self.tls.wrapper:
            # Nothing can be said before TLS is there, and there is no slot for that.
            return b""
        return f"421 4.3.2 {self.config.myhostname} Error: too many clients, come again later\r\n".encode()

    def session(self, peer: Peer) -> Session:
        return Session(self, peer)

    async def may_connect(self, address: str) -> bool:
        """Over TCP."""
        try:
            return await self._clients.match("", address)
        except TableError as error:
            log.warning(f"lmtpd_authorized_clients: {error}")
            return False

    async def look_up(self, address: str) -> User:
        """Raises BusError, Refusal among them."""
        return await self._auth.call(auth.Lookup(name=address, scope="lmtp"), User, deadline=_DEADLINE)

    def owner(self, user: User) -> tuple[int, int]:
        return (user.uid, user.gid) if self.acts and user.uid >= 0 else (-1, -1)
