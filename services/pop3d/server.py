"""The program: what all its sessions share."""

import asyncio
import os
import secrets
import ssl
import time

from tubepost.common.wire import notify
from tubepost.common.system import log
from tubepost.common.skeleton import stream
from tubepost.common.skeleton.authentication import Authenticator
from tubepost.common.skeleton.mailboxes import Mailbox, Mailboxes
from tubepost.common.skeleton.process import Process
from tubepost.common.skeleton.tls import ServerTls

from tubepost.services.pop3d.maildrop import Maildrop, uidl_format
from tubepost.services.pop3d.protocol import Settings
from tubepost.services.pop3d.session import Session, same_folder


class Pop3d(stream.Service):
    """One process, many sessions."""

    tls: ServerTls
    auth: Authenticator
    mailboxes: Mailboxes

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        self.sessions: set[Session] = set()
        self._after: set[asyncio.Task[None]] = set()
        self._hurry: asyncio.Task[None] | None = None
        config = self.config
        try:
            self.uidl = uidl_format(config.pop3d_uidl_format)
        except ValueError as error:
            raise config.bad_value("pop3d_uidl_format", str(error)) from None
        self._take_config()
        process.on_stress.append(self._take_config)

    def _take_config(self) -> None:
        self.config = config = self.process.config
        self.settings = Settings(
            banner=config.pop3d_greeting,
            implementation=config.mail_name,
            line_limit=config.pop3d_line_length_limit,
            error_limit=config.pop3d_error_limit,
            login_delay=int(config.pop3d_login_delay),
        )

    async def open(self) -> None:
        self.tls = ServerTls(self.process, "pop3d")
        self.auth = Authenticator(self.process, "pop3")
        self.mailboxes = Mailboxes(self.config.pop3d_threads, os.geteuid() == 0)
        self._notify = self.process.client(self.config.notify_service_name)
        self._hurry = self.process.loop.create_task(self._watch())

    async def close(self) -> None:
        if self._hurry is not None:
            self._hurry.cancel()
        if self._after:
            await asyncio.wait(self._after)
        self.mailboxes.close()

    @property
    def busy(self) -> bool:
        return bool(self._after)

    @property
    def guests(self) -> set[Session]:
        return self.sessions

    @property
    def farewell(self) -> bytes:
        # Before TLS nothing can be said, and there is no slot for that. RFC 3206 4
        return b"" if self.tls.wrapper else b"-ERR [SYS/TEMP] Too many clients, come again later\r\n"

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

    def timestamp(self) -> str:
        """RFC 1939 7: a message id that is never said twice."""
        return f"<{secrets.token_hex(12)}.{time.time_ns()}@{self.config.myhostname}>"

    async def _watch(self) -> None:
        await self.process.hurried.wait()
        for session in tuple(self.sessions):
            session.leave()

    def changed(self, mailbox: Mailbox) -> None:
        """Messages were removed: tell sessions that look at the INBOX."""
        if not self._notify.tell(notify.Changed(mailbox=mailbox.path)):
            log.debug(f"{self.config.notify_service_name} was not told of a change of {mailbox.path}")

    def mark_seen(self, mailbox: Mailbox, drop: Maildrop, uids: list[int]) -> None:
        """In the background, after the client was let go."""
        mailbox.users += 1

        async def work() -> None:
            try:
                await mailbox.work(_mark_seen, mailbox, drop, uids)
                self.changed(mailbox)
                folder = await mailbox.work(mailbox.account.folder, "INBOX")
                while await mailbox.work(folder.flush):
                    pass
            except Exception as error:
                log.warning(f"{mailbox.path}: retrieved messages are not marked as seen: {error}")
            finally:
                self.mailboxes.release(mailbox)

        task = self.process.loop.create_task(work())
        self._after.add(task)
        task.add_done_callback(self._after.discard)


def _mark_seen(mailbox: Mailbox, drop: Maildrop, uids: list[int]) -> None:
    folder = same_folder(mailbox, drop)
    folder.settle_new()
    folder.store(uids, "+", ("\\Seen",))
