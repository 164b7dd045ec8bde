"""The program: what all its sessions share."""

import os
import secrets
import time

from tubepost.common.wire import notify
from tubepost.common.system import log
from tubepost.common.skeleton.authentication import Authenticator
from tubepost.common.skeleton.conversation import Server
from tubepost.common.skeleton.mailboxes import Mailbox, Mailboxes
from tubepost.common.skeleton.process import Process
from tubepost.common.skeleton.stream import Peer
from tubepost.common.skeleton.tls import ServerTls

from tubepost.services.pop3d.maildrop import Maildrop, uidl_format
from tubepost.services.pop3d.protocol import Settings
from tubepost.services.pop3d.session import Session, same_folder


class Pop3d(Server[Session]):
    """One process, many sessions."""

    auth: Authenticator
    mailboxes: Mailboxes

    def __init__(self, process: Process) -> None:
        super().__init__(process)
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
        self.end_sessions(self.process.hurried)

    async def close(self) -> None:
        await super().close()
        self.mailboxes.close()

    @property
    def farewell(self) -> bytes:
        # Before TLS nothing can be said, and there is no slot for that. RFC 3206 4
        return b"" if self.tls.wrapper else b"-ERR [SYS/TEMP] Too many clients, come again later\r\n"

    def session(self, peer: Peer) -> Session:
        return Session(self, peer)

    def timestamp(self) -> str:
        """RFC 1939 7: a message id that is never said twice."""
        return f"<{secrets.token_hex(12)}.{time.time_ns()}@{self.config.myhostname}>"

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

        self.in_background(work())


def _mark_seen(mailbox: Mailbox, drop: Maildrop, uids: list[int]) -> None:
    folder = same_folder(mailbox, drop)
    folder.settle_new()
    folder.store(uids, "+", ("\\Seen",))
