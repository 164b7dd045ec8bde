"""One connection: bytes in and out, TLS below, one deadline; what the machine's events ask for."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tubepost.common.mail import surrogate
from tubepost.common.mail.crlf import Data, virtual_size
from tubepost.common.wire import auth
from tubepost.common.wire.auth import User
from tubepost.common.system import log
from tubepost.common.mailbox.interface import Folder, MaildropLock
from tubepost.common.mailbox.largefile import LargeFile
from tubepost.common.mailbox.store import NoSuchFolder, NoSuchMessage
from tubepost.common.mailbox.trouble import IndexTrouble
from tubepost.common.mailbox.values import InUse
from tubepost.common.net.tls import Agreed, HandshakeError
from tubepost.common.skeleton.authentication import Answer, Asker, Exchange
from tubepost.common.skeleton.conversation import Conversation, Gone
from tubepost.common.skeleton.mailboxes import Mailbox
from tubepost.common.skeleton.stream import Peer

from tubepost.services.pop3d import events, rendering
from tubepost.services.pop3d.maildrop import Maildrop
from tubepost.services.pop3d.protocol import Machine

if TYPE_CHECKING:
    from tubepost.services.pop3d.server import Pop3d

# Replies to pipelined commands are written together, up to so much.
_GATHER = 128 * 1024
# Up to this size a message is read at once, above it is read and sent in pieces.
_WHOLE = 1 << 20
# Up to this size it is read while others wait.
_SMALL = 1 << 18
# Names of files that are asked for at one time.
_AHEAD_FILES = 500
# RFC 3206 4; what the client is told of a failure of auth.
_CODES: dict[str, str] = {"delayed": "SYS/TEMP", "temporary": "SYS/TEMP", "protocol": "", "mechanism": ""}


class Refused(Exception):
    """The maildrop cannot be opened. ``code``: the response code."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


class Session(Conversation):
    server: "Pop3d"

    def __init__(self, server: "Pop3d", peer: Peer) -> None:
        super().__init__(server, peer)
        self.asker = Asker(address=peer.address, local=peer.local_address)
        self.machine = Machine(server.settings)
        self.user: User | None = None
        self.mailbox: Mailbox | None = None
        self._folder: Folder | None = None
        self._lock: MaildropLock | None = None
        self._exchange: Exchange | None = None
        self._success: auth.Success | None = None
        self._method = ""
        self._out_size = 0
        self._event: events.Event | None = None
        self._paths: dict[int, str] = {}
        self._obeyed = 0
        self._tops = self._retrievals = self._sent = 0

    # The connection

    def received(self, data: bytes) -> None:
        self.machine.receive(data)
        if self.machine.waiting_input > self.ahead:
            self.hold_input()
        if self._input is not None and self._folder is not None and not self.leaving:
            self._serve()
        else:
            self.wake_up()

    def _serve(self) -> None:
        """While the session waits for input: what can be answered at once is, without waking its task."""
        machine = self.machine
        while self._event is None:
            event = machine.next_event()
            if event is None:
                if machine.commands != self._obeyed:
                    self._obeyed = machine.commands
                    self.expect_by(self.server.config.pop3d_timeout)
                self.flush()
                if not self._paused and self._reading:
                    return
                break
            if event.__class__ is not events.Retrieve or self._paused or not self._answer_now(event):
                self._event = event
            elif self._out_size > _GATHER:
                self.flush()
        self.wake_up()

    def _answer_now(self, event: events.Event) -> bool:
        """RETR of a small message whose file is where it was. False: nothing was done."""
        machine, mailbox, folder = self.machine, self.mailbox, self._folder
        assert isinstance(event, events.Retrieve) and mailbox is not None and folder is not None
        drop, place = machine.maildrop, event.place
        assert drop is not None
        size = drop.sizes[place]
        path = self._paths.get(drop.uids[place])
        if event.lines is not None or size > _SMALL or path is None or mailbox.lock.locked():
            return False
        try:
            fd = folder.open_handle(path)
            try:
                # With CRLF line ends it has at least as many octets as in the file.
                data = os.read(fd, size + 1)
            finally:
                os.close(fd)
        except OSError:
            return False
        if len(data) > size or not (data.isascii() or machine.utf8):
            return False
        self._retrievals += 1
        drop.retrieved.add(place)
        reply = rendering.whole(data, size)
        machine.output.append(reply)
        self._out_size += len(reply)
        return True

    def forget_input(self) -> None:
        self.machine.forget_input()

    @property
    def has_proven(self) -> bool:
        return self.user is not None

    def say_full(self) -> None:
        self.write(self.server.farewell or b"-ERR [SYS/TEMP] Too many clients, come again later\r\n")
        self.leave()

    async def _next_event(self) -> events.Event:
        """Raises Gone."""
        machine = self.machine
        while True:
            if self.closed:
                raise Gone
            if self.leaving:
                machine.leave()
            event, self._event = self._event, None
            if event is None:
                event = machine.next_event()
            if machine.commands != self._obeyed:
                self._obeyed = machine.commands
                if self.user is not None:
                    self.expect_by(self.server.config.pop3d_timeout)
            if event is not None:
                self._silent_since = self.loop.time()
                return event
            self.flush()
            await self._drain()
            await self.more_input()

    def flush(self) -> None:
        output = self.machine.output
        if output:
            data = b"".join(output)
            output.clear()
            self._sent += len(data)
            self._out_size = 0
            self.write(data)

    async def _drain(self) -> None:
        """Wait while the client is slow. Raises Gone."""
        if not self._paused:
            return
        if self.user is not None:
            # It has the time of one command for each portion.
            self.expect_by(self.server.config.pop3d_timeout)
        await self.drained()

    # Life

    @property
    def who(self) -> str:
        """For the log."""
        return f"{self.user.name} [{self.peer.address}]" if self.user is not None else f"[{self.peer.address}]"

    def settle(self, reason: str) -> None:
        if self._exchange is not None:
            self._exchange.abandon()
        if self._lock is not None:
            self._lock.release()
        if self.mailbox is not None:
            drop = self.machine.maildrop
            messages = len(drop) if drop is not None else 0
            removed = len(drop.deleted) if drop is not None and not reason else 0
            log.info(
                f"{self.who}: {f'disconnected ({reason})' if reason else 'logged out'}, top={self._tops} "
                f"retr={self._retrievals} del={removed}/{messages} out={self._sent}"
            )
            self.server.mailboxes.release(self.mailbox)
        elif reason and not self.leaving:
            log.debug(f"{self.who}: {reason} before login")

    async def converse(self) -> str:
        server, machine = self.server, self.machine
        self.expect_by(server.config.pop3d_login_timeout)
        if server.tls.wrapper and self.transport is not None:
            self._secure(server.tls.accepted(self.transport, self.client))
        machine.tls_offered = server.tls.offered
        await self._learn_mechanisms()
        machine.greet()
        while True:
            event = await self._next_event()
            match event:
                case events.Retrieve():
                    await self._retrieve(event)
                case events.Full():
                    self.flush()
                    await self._drain()
                case events.Hangup():
                    return event.reason
                case events.Quit():
                    await self._quit()
                case events.StartTls():
                    await self._start_tls()
                case events.Login():
                    await self._log_in("PLAIN", f"\0{event.name}\0{event.password}".encode(), "USER")
                case events.Apop():
                    initial = f"{machine.timestamp}\0{event.name}\0{event.digest}".encode()
                    await self._log_in("APOP", initial, "APOP")
                case events.Auth():
                    await self._log_in(event.mechanism, event.initial, event.mechanism)
                case events.AuthResponse():
                    await self._go_on(event.data)
                case events.AuthAbandoned():
                    self._abandon()

    # TLS

    def _secure(self, agreed: Agreed) -> None:
        self.machine.secured()
        self.asker.tls = True
        certificate = agreed.certificate
        if certificate is not None and certificate.verified:
            self.asker.certificate_name = certificate.subject
        self.asker.binding = self.server.tls.binding(self.transport)

    async def _start_tls(self) -> None:
        self.flush()
        try:
            agreed = await self.server.tls.upgrade_channel(self, self.client, b"+OK Begin TLS negotiation now\r\n")
        except HandshakeError:
            raise Gone from None
        self._secure(agreed)
        self.expect_by(self.server.config.pop3d_login_timeout)
        await self._learn_mechanisms()

    async def _learn_mechanisms(self) -> None:
        offered = await self.server.auth.offer(self.asker)
        machine = self.machine
        if self.server.tls.required and not machine.tls_active:
            # pop3d_tls_security_level = encrypt: not even from this host.
            return
        machine.mechanisms = tuple(name for name in offered if name != "APOP")
        if "APOP" in offered and not machine.commands:
            # It can only be told in the greeting.
            machine.timestamp = self.server.timestamp()

    # Login

    async def _log_in(self, mechanism: str, initial: bytes | None, method: str) -> None:
        self.flush()
        self._method = method
        self._exchange = self.server.auth.exchange(self.asker)
        await self._answered(await self._exchange.begin(mechanism, initial))

    async def _go_on(self, data: bytes) -> None:
        if self._success is not None:
            # RFC 5034 4: the mechanism's last word went out as a challenge, and the client has nothing to say to it.
            success, self._success = self._success, None
            if data:
                self.machine.fail("The mechanism had come to its end", "AUTH")
            else:
                await self._open(success)
            return
        assert self._exchange is not None
        await self._answered(await self._exchange.go_on(data))

    def _abandon(self) -> None:
        self._success = None
        if self._exchange is not None:
            self._exchange.abandon()
            self._exchange = None

    async def _answered(self, answer: Answer) -> None:
        if self.closed:
            raise Gone
        if isinstance(answer, auth.Challenge):
            self.machine.challenge(answer.data)
            return
        self._exchange = None
        if isinstance(answer, auth.Failure):
            self.machine.fail(answer.text, _CODES.get(answer.cause, "AUTH"))
        elif answer.data is not None:
            self._success = answer
            self.machine.challenge(answer.data)
        else:
            await self._open(answer)

    async def _open(self, success: auth.Success) -> None:
        user, config = success.user, self.server.config
        # The client has done what it had to: a maildrop can take longer to open than its login may take.
        self.expect_by(config.pop3d_timeout)
        try:
            drop = await self._open_maildrop(user)
        except Refused as refused:
            self.machine.fail(str(refused), refused.code)
            self.expect_by(config.pop3d_login_timeout)
            return
        self.user = user
        self.expect_by(config.pop3d_timeout)
        self.machine.logged_in(drop)
        secured = " TLS" if self.asker.tls else ""
        by = f" by {success.login}" if success.login else ""
        log.info(f"{self.who}: logged in, method={self._method}{secured}{by}, messages={len(drop)}")

    async def _open_maildrop(self, user: User) -> Maildrop:
        """Raises Refused."""
        mailbox: Mailbox | None = None
        try:
            mailbox = await self.server.mailboxes.open(user)
            self._lock = await mailbox.work(_lock, mailbox, self.server.config.pop3d_login_delay)
            drop, self._folder = await mailbox.work(self._read_maildrop, mailbox)
            self.mailbox, mailbox = mailbox, None
            return drop
        except InUse:
            log.info(f"{user.name} [{self.peer.address}]: refused: another session has the maildrop")
            raise Refused("Another session has the maildrop", "IN-USE") from None
        except (OSError, IndexTrouble, NoSuchFolder) as error:
            log.error(f"{user.name}: cannot open the mailbox {user.mailbox}: {error}")
            raise Refused("The maildrop cannot be opened now; it was logged", "SYS/TEMP") from None
        finally:
            if mailbox is not None:
                if self._lock is not None:
                    self._lock.release()
                    self._lock = None
                self.server.mailboxes.release(mailbox)

    def _read_maildrop(self, mailbox: Mailbox) -> tuple[Maildrop, Folder]:
        """In a thread. Raises OSError, IndexTrouble."""
        folder = mailbox.account.folder("INBOX")
        if folder.stale():
            folder.sync()
        hidden: set[int] = set()
        if self.server.config.pop3d_delete_type == "flag":
            hidden.update(folder.flagsets_with("\\Deleted"))
        uids = [uid for uid, flagset in folder.uids() if flagset not in hidden]
        rows = list(folder.rows(("uid", "size"), uids))
        uids, sizes = [row[0] for row in rows], [row[1] for row in rows]
        return Maildrop(uids, sizes, folder.uidvalidity, self.server.uidl, folder.mailboxid), folder

    # Messages

    async def _retrieve(self, event: events.Retrieve) -> None:
        machine, mailbox, folder = self.machine, self.mailbox, self._folder
        assert machine.maildrop is not None and mailbox is not None and folder is not None
        drop, index = machine.maildrop, event.place
        if event.lines is None and self._answer_now(event):
            await self._pressed()
            return
        try:
            fd = await mailbox.quick(self._open_file, mailbox, drop, index)
        except NoSuchMessage:
            machine.fail("That message was removed meanwhile")
            return
        except (OSError, IndexTrouble, NoSuchFolder) as error:
            log.error(f"{self.who}: message {drop.uids[index]}: {error}")
            machine.fail("The message cannot be read now; it was logged", "SYS/TEMP")
            return
        try:
            size = os.fstat(fd).st_size
            data: bytes | LargeFile
            data, fd = (LargeFile(fd), -1) if size > _WHOLE else (os.read(fd, size), fd)
        except OSError as error:
            log.error(f"{self.who}: message {drop.uids[index]}: {error}")
            machine.fail("The message cannot be read now; it was logged", "SYS/TEMP")
            return
        finally:
            if fd >= 0:
                os.close(fd)
        try:
            await self._send(event, data, drop)
        except OSError as error:
            # Nothing can be said within a message, and its end would say that this is all of it.
            log.error(f"{self.who}: message {drop.uids[index]} cannot be read to its end: {error}")
            raise Gone from None
        finally:
            if isinstance(data, LargeFile):
                data.close()

    def _open_file(self, mailbox: Mailbox, drop: Maildrop, index: int) -> int:
        """Raises NoSuchMessage, NoSuchFolder, OSError, IndexTrouble."""
        folder = self._folder = same_folder(mailbox, drop)
        fd = folder.open(drop.uids[index])
        if drop.uids[index] not in self._paths:
            self._paths = folder.handles(drop.uids[index : index + _AHEAD_FILES])
        return fd

    async def _send(self, event: events.Retrieve, data: Data, drop: Maildrop) -> None:
        machine, index = self.machine, event.place
        # RFC 6856 2.1: without UTF8 such a message is not sent as it is, but in ASCII.
        downgraded = not machine.utf8 and rendering.is_utf8_header(data)
        if event.lines is None:
            self._retrievals += 1
            drop.retrieved.add(index)
            if isinstance(data, bytes):
                if downgraded:
                    data = surrogate.message(data.replace(b"\r\n", b"\n"))
                reply = rendering.whole(data, virtual_size(data) if downgraded else drop.sizes[index])
                machine.output.append(reply)
                self._out_size += len(reply)
                await self._pressed()
                return
            machine.reply(f"+OK {drop.sizes[index]} octets")
            await self._stream(rendering.pieces(data, len(data), ascii_header=downgraded))
            return
        self._tops += 1
        if isinstance(data, bytes):
            end = rendering.top_end(data, event.lines)
        else:
            end = await self.server.mailboxes.in_thread(rendering.top_end, data, event.lines)
        machine.reply("+OK")
        await self._stream(rendering.pieces(data, end, ascii_header=downgraded))

    async def _pressed(self) -> None:
        """Write when enough was gathered. Raises Gone."""
        if self._out_size > _GATHER:
            self.flush()
            await self._drain()

    async def _stream(self, pieces: Iterator[bytes]) -> None:
        machine = self.machine
        for piece in pieces:
            machine.output.append(piece)
            self._out_size += len(piece)
            await self._pressed()

    # The end

    async def _quit(self) -> None:
        """RFC 1939 6: the UPDATE state."""
        machine, mailbox = self.machine, self.mailbox
        drop = machine.maildrop
        assert drop is not None and mailbox is not None
        self.flush()
        removed = True
        if drop.deleted:
            try:
                await mailbox.work(_remove, mailbox, drop, self.server.config.pop3d_delete_type)
            except (OSError, IndexTrouble, NoSuchFolder) as error:
                log.error(f"{self.who}: removing {len(drop.deleted)} messages: {error}")
                removed = False
            self.server.changed(mailbox)
        if self._lock is not None:
            self._lock.release()
        if self.server.config.pop3d_mark_seen and (seen := drop.retrieved - drop.deleted):
            self.server.mark_seen(mailbox, drop, [drop.uids[index] for index in sorted(seen)])
        machine.bye(removed)


def _lock(mailbox: Mailbox, delay: float) -> MaildropLock:
    """In a thread. Raises InUse, Refused, OSError."""
    account = mailbox.account
    lock = account.lock_maildrop()
    try:
        since = lock.since_last() if delay else None
        if since is not None and since < delay:
            # RFC 2449 8.1.1
            raise Refused(f"Come again in {delay - since:.0f} seconds", "LOGIN-DELAY")
        if delay:
            lock.note()
    except BaseException:
        lock.release()
        raise
    return lock


def same_folder(mailbox: Mailbox, drop: Maildrop) -> Folder:
    """The INBOX, if its UIDs still mean what they meant at the login: an index that was lost is made with others.

    Under the lock of the account. Raises NoSuchFolder, IndexTrouble.
    """
    folder = mailbox.account.folder("INBOX")
    if folder.mailboxid != drop.origin:
        raise NoSuchFolder("the index was made anew since the login")
    return folder


def _remove(mailbox: Mailbox, drop: Maildrop, how: str) -> None:
    """In a thread. Raises OSError, IndexTrouble, NoSuchFolder."""
    folder = same_folder(mailbox, drop)
    if how == "flag":
        folder.store(drop.marked(), "+", ("\\Deleted",))
    else:
        folder.remove(drop.marked())
