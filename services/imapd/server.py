"""The program: what all its sessions share."""

import asyncio
import contextlib
import os
from typing import Protocol

from tubepost.common.wire import auth, notify
from tubepost.common.wire.auth import User
from tubepost.common.system import log
from tubepost.common.bus.errors import BusError, Refusal
from tubepost.common.mailbox.interface import Folder
from tubepost.common.mailbox.store import NoSuchFolder
from tubepost.common.skeleton.authentication import Authenticator
from tubepost.common.skeleton.conversation import Server
from tubepost.common.skeleton.mailboxes import Mailbox, Mailboxes
from tubepost.common.skeleton.process import Process
from tubepost.common.skeleton.stream import Peer
from tubepost.common.skeleton.tls import ServerTls

from tubepost.services.imapd.commands.uses import parse_folders
from tubepost.services.imapd.logins import Logins
from tubepost.services.imapd.selected import Selected
from tubepost.services.imapd.session import TOO_MANY, Session
from tubepost.services.imapd.watch import Watch

# After notify went away: seconds until it is asked again.
_PAUSE = 1.0
# How long flags may wait until they are in the names of files, seconds.
_QUIET = 1.0
_FOR_EVER = float(1 << 40)
# Other users that were asked for, and the seconds for which that is remembered.
_KNOWN = 1000
_LIFETIME = 30.0
# Characters of the name of a user (RFC 5321 4.5.3.1: 320 octets of an address).
_LONGEST = 320


class Listener(Protocol):
    """Who is woken when a folder changes."""

    def wake(self) -> None: ...


class Imapd(Server[Session]):
    """One process, many sessions."""

    auth: Authenticator

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        self._by_folder: dict[tuple[str, int], set[Listener]] = {}
        self._closing = asyncio.Event()
        self._subscription: asyncio.Task[None] | None = None
        self.noticing: set[Session] = set()
        """Those that want to hear of more than the selected mailbox (NOTIFY)."""
        self._known: dict[str, tuple[float, User | None]] = {}

    async def open(self) -> None:
        config = self.config = self.process.config
        self.banner = config.imapd_greeting
        self.tls = ServerTls(self.process, "imapd")
        self.auth = Authenticator(self.process, "imap")
        self.mailboxes = Mailboxes(config.imapd_threads, os.geteuid() == 0)
        self.logins = Logins(self.process, config.imapd_user_connection_limit)
        self.watch = Watch(self.process.loop, self._changed_outside)
        self.auto_folders = parse_folders(config.imapd_auto_folders)
        self._notify = self.process.client(config.notify_service_name)
        self._subscription = self.process.loop.create_task(self._listen())
        # Sessions last for hours: they are ended when the program is to go, not waited for.
        self.end_sessions(self.process.stopping)

    async def close(self) -> None:
        if self._subscription is not None:
            self._subscription.cancel()
        self.watch.close()
        self._closing.set()
        await super().close()
        self.mailboxes.close()

    @property
    def farewell(self) -> bytes:
        # Before TLS nothing can be said, and there is no slot for that. RFC 9051 7.1.5, RFC 5530 3
        return b"" if self.tls.wrapper else TOO_MANY

    def session(self, peer: Peer) -> Session:
        return Session(self, peer)

    def ending(self) -> None:
        self._closing.set()

    # Users

    async def user(self, name: str) -> User | None:
        """Another user, by the name or address that a client gives; None: there is none, or it cannot be told now."""
        if len(name) > _LONGEST or not name.isprintable():
            # No such user can log in, and what a client says is kept in no greater length.
            return None
        now = self.process.loop.time()
        found = self._known.get(name)
        if found is not None and found[0] > now:
            return found[1]
        if len(self._known) >= _KNOWN:
            self._known.clear()
        user = None
        try:
            client = self.process.client(self.config.auth_service_name)
            user = await client.call(auth.Lookup(name=name, scope="imap"), User)
        except Refusal:
            pass
        except BusError as error:
            log.warning(f"cannot ask {self.config.auth_service_name} for user {name!r}: {error}")
            return None
        self._known[name] = now + _LIFETIME, user
        return user

    async def user_of_url(self, name: str, host: str) -> User | None:
        """As ``user``, for the two parts of an IMAP URL: one user may be named by the local part alone (RFC 5092 3)."""
        found = await self.user(name)
        return found if found is not None or "@" in name or not host else await self.user(f"{name}@{host}")

    # Changes

    def watch_folder(self, session: Session, selected: Selected) -> None:
        """This session is to be woken when the mailbox changes."""
        self.listen((selected.mailbox.path, selected.folder.id), selected.folder.watched, session)

    def unwatch(self, session: Session, selected: Selected) -> None:
        self.unlisten((selected.mailbox.path, selected.folder.id), selected.folder.watched, session)

    def listen(self, key: tuple[str, int], watched: tuple[str, ...], listener: "Listener") -> None:
        """Wake the listener when the folder changes; ``key``: its account and id; ``watched``: of the folder."""
        listeners = self._by_folder.setdefault(key, set())
        if not listeners:
            self.watch.add(watched, key)
        listeners.add(listener)

    def unlisten(self, key: tuple[str, int], watched: tuple[str, ...], listener: "Listener") -> None:
        listeners = self._by_folder.get(key)
        if listeners is not None:
            listeners.discard(listener)
            if not listeners:
                del self._by_folder[key]
                self.watch.remove(watched)

    def changed(self, mailbox: Mailbox, *folders: "tuple[int, str]") -> None:
        """A session of this process has changed these folders, (id, name): tell all others, here and elsewhere."""
        for number, name in folders:
            self._wake((mailbox.path, number))
            self._hint(mailbox.path, name)
            try:
                self._notify.tell(notify.Changed(mailbox=mailbox.path, folder=name))
            except BusError as error:
                log.warning(f"cannot tell {self.config.notify_service_name} of a change: {error}")

    def _wake(self, key: tuple[str, int]) -> None:
        for listener in tuple(self._by_folder.get(key, ())):
            listener.wake()

    def _hint(self, path: str, folder: str) -> None:
        for session in tuple(self.noticing):
            session.hint(path, folder)

    def _changed_outside(self, key: tuple[str, int]) -> None:
        self._wake(key)

    async def _listen(self) -> None:
        """Hear of changes by other processes."""
        while True:
            try:
                async for event in self._notify.listing(notify.Subscribe(), notify.Changed, deadline=_FOR_EVER):
                    mailbox = self.mailboxes.get(event.mailbox.rstrip("/"))
                    if mailbox is None:
                        continue
                    self._hint(mailbox.path, event.folder)
                    for path, number in tuple(self._by_folder):
                        if path == mailbox.path:
                            self._wake((path, number))
            except BusError as error:
                log.debug(f"no news from {self.config.notify_service_name}: {error}")
            await asyncio.sleep(_PAUSE)

    def flush_soon(self, selected: Selected) -> None:
        """Let the names of files tell the flags, in the background."""
        mailbox, folder = selected.mailbox, selected.folder
        if folder.id in mailbox.flushing:
            return
        mailbox.flushing.add(folder.id)
        mailbox.users += 1

        async def work() -> None:
            try:
                # What is marked and then removed need not be renamed before.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_QUIET):
                        await self._closing.wait()
                current: Folder | None = folder
                while current is not None:
                    try:
                        while await mailbox.work(current.flush):
                            pass
                        break
                    except NoSuchFolder:
                        # It may have got another name meanwhile.
                        current = await mailbox.quick(mailbox.account.renamed, current)
            except Exception as error:
                log.warning(f"{mailbox.path}: {folder.name}: flags are not yet in the names of files: {error}")
            finally:
                mailbox.flushing.discard(folder.id)
                self.mailboxes.release(mailbox)

        self.in_background(work())
