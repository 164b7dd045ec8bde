"""One client: one command at a time, and what is new told between commands.

What a command does stands in ``commands``; this file calls it, turns what it raises into the tagged answer, and tells
the client between commands what changed (``updates``).
"""

import asyncio
import errno
from typing import TYPE_CHECKING

from tubepost.common.imap.errors import BadCommand
from tubepost.common.imap.notification import Notify
from tubepost.common.imap.parse import Scanner
from tubepost.common.imap.reader import (
    Bad,
    Bye,
    Command,
    Continue,
    Event,
    Line,
    LiteralBegin,
    LiteralData,
    LiteralEnd,
    Reader,
)
from tubepost.common.imap.write import quoted

from tubepost.common.wire.auth import User
from tubepost.common.system import log
from tubepost.common.mailbox.store import FolderExists, NoSuchFolder, NoSuchMessage, OverQuota
from tubepost.common.mailbox.trouble import IndexTrouble, is_busy, is_full
from tubepost.common.mailbox.values import BadName
from tubepost.common.net.tls import Agreed
from tubepost.common.skeleton.authentication import Asker
from tubepost.common.skeleton.conversation import Gone
from tubepost.common.skeleton.mailboxes import Mailbox
from tubepost.common.skeleton.stream import Peer

from tubepost.services.imapd import updates
from tubepost.services.imapd.capabilities import capabilities
from tubepost.services.imapd.commands import COMMANDS, Updates
from tubepost.services.imapd.commands.fetch import tell_arrived
from tubepost.services.imapd.connection import Connection
from tubepost.services.imapd.logins import Key
from tubepost.services.imapd.notification import Watching
from tubepost.services.imapd.replies import Answered, No, UidRequired, nonexistent
from tubepost.services.imapd.selected import Selected
from tubepost.services.imapd.upload import Upload

if TYPE_CHECKING:
    from tubepost.services.imapd.server import Imapd

# RFC 9586 3: commands that take message numbers.
_NUMBERED = frozenset({b"FETCH", b"STORE", b"COPY", b"MOVE", b"SEARCH", b"SORT", b"THREAD", b"REPLACE"})
# What these change the client that gave them need not be told (RFC 5465 5).
_NAMING = frozenset(
    {b"CREATE", b"DELETE", b"RENAME", b"SUBSCRIBE", b"UNSUBSCRIBE", b"SETMETADATA", b"SETACL", b"DELETEACL"}
)
_LEAVING = frozenset({b"CLOSE", b"UNSELECT"})
# Commands that may take long and send nothing meanwhile; those that search tell more of it themselves.
_LONG = frozenset(
    {b"COPY", b"UID COPY", b"MOVE", b"UID MOVE", b"EXPUNGE", b"UID EXPUNGE", b"CLOSE", b"STORE", b"UID STORE"}
    | {b"APPEND", b"REPLACE", b"UID REPLACE", b"SELECT", b"EXAMINE", b"STATUS", b"DELETE", b"RENAME", b"LIST"}
)
# Seconds after which a client is told that a command goes on (RFC 9585), and then again.
_PATIENCE = 10.0
# Events that one client may have taken before others get their turn.
_TURN = 50
TOO_MANY = b"* BYE [UNAVAILABLE] Too many clients, come again later\r\n"
# Before the login literals are short (names and passwords).
_LITERAL_BEFORE_LOGIN = 8192


class Session(Connection):
    """Commands use: ``send``, ``flush``, ``user``, ``mailbox``, ``selected``, ``enabled``, ``scanner``."""

    server: "Imapd"

    def __init__(self, server: "Imapd", peer: Peer) -> None:
        super().__init__(
            server,
            peer,
            Reader(
                line_limit=server.config.imapd_line_length_limit,
                literal_limit=_LITERAL_BEFORE_LOGIN,
                verbs=COMMANDS,
            ),
        )
        self.asker = Asker(address=peer.address, local=peer.local_address)
        self.user: User | None = None
        self.mailbox: Mailbox | None = None
        self.selected: Selected | None = None
        self.enabled: set[bytes] = set()
        self.upload: Upload | None = None
        self.with_uid = False
        """A UID command is running."""
        self.client_id = ""
        self.idling = False
        self.notifying = False
        """The client wants to be told of changes between commands (NOTIFY)."""
        self.watching: Watching | None = None
        """What else the client wants to be told of, from NOTIFY or ENABLE METADATA on."""
        self.verb = b""
        """Of the command in progress."""
        self.extra: dict[str, object] = {}
        """What a command keeps for later ones, by the command's name."""
        self._counted: Key | None = None
        """Among the user's connections."""
        self._patience: asyncio.TimerHandle | None = None
        self._failures = 0

    # The connection

    @property
    def has_proven(self) -> bool:
        return self.user is not None

    def say_full(self) -> None:
        self.leave()

    def wake(self) -> None:
        """Something has changed in a mailbox that this session looks at."""
        self._woken = True
        if self.idling or self.notifying:
            self.wake_up()

    # Life

    async def converse(self) -> str:
        try:
            await self._converse()
        except Gone:
            self._say_bye()
            raise
        return ""

    def break_down(self) -> None:
        self.send(b"* BYE [UNAVAILABLE] Internal error; it was logged\r\n")

    def settle(self, reason: str) -> None:
        if self.upload is not None:
            self.upload.discard()
        self.unselect()
        self.stop_notifying()
        if self.mailbox is not None:
            log.info(f"{self.who}: logged out, in={self._received} out={self._sent}")
        self._give_back()

    def _say_bye(self) -> None:
        if self.crowded_out and not self.closed:
            self.send(TOO_MANY)
        elif self.leaving and not self.closed:
            self.send(b"* BYE Server is going down; please come again\r\n")
        elif self.timed_out:
            log.info(f"{self.who}: disconnected for inactivity")

    @property
    def who(self) -> str:
        """For the log."""
        return f"{self.user.name} [{self.peer.address}]" if self.user is not None else f"[{self.peer.address}]"

    async def _converse(self) -> None:
        server, tls = self.server, self.server.tls
        self.expect_by(server.config.imapd_login_timeout)
        if tls.wrapper and self.transport is not None:
            self._secure(tls.accepted(self.transport, self.client))
        await server.auth.offer(self.asker)
        line = " ".join(capabilities(self))
        self.send(f"* OK [CAPABILITY {line}] {server.banner}\r\n".encode())
        self.flush()
        turns = 0
        while True:
            self.expect_by(server.config.imapd_timeout if self.user else server.config.imapd_login_timeout)
            self._silent_since = self.loop.time()
            event = await self.next_event(wakeable=self.notifying)
            if event is None:
                await self.tell_news()
                continue
            if not await self._handle(event):
                return
            turns += 1
            if turns % _TURN == 0:
                # Commands that come all at once are not to keep others waiting.
                await asyncio.sleep(0)

    def _secure(self, agreed: Agreed) -> None:
        self.asker.tls = True
        certificate = agreed.certificate
        if certificate is not None and certificate.verified:
            # For EXTERNAL.
            self.asker.certificate_name = certificate.subject
        self.asker.binding = self.server.tls.binding(self.transport)

    async def start_server_tls(self, reply: bytes) -> None:
        """Raises HandshakeError."""
        self.flush()
        self._secure(await self.server.tls.upgrade_channel(self, self.client, reply))
        self.expect_by(self.server.config.imapd_login_timeout)
        await self.server.auth.offer(self.asker)

    async def _handle(self, event: Event) -> bool:
        """False: the session is over."""
        match event:
            case Command():
                return await self._obey(event)
            case Continue():
                self.send(b"+ OK\r\n")
            case LiteralBegin():
                await self._begin_upload(event)
            case LiteralData():
                if self.upload is None or not self.upload.write(event.data):
                    self.reader.refuse()
            case LiteralEnd():
                if self.upload is not None:
                    self.upload.end()
            case Bad():
                self._answer(event.tag, event.status, event.code, event.text)
                if self.upload is not None:
                    self.upload.discard()
                    self.upload = None
                return self._count_failure()
            case Bye():
                self.send(f"* BYE {event.text}\r\n".encode())
                return False
            case Line():
                self.send(b"* BAD That line was not asked for\r\n")
        self.flush()
        return True

    async def _begin_upload(self, event: LiteralBegin) -> None:
        """APPEND and REPLACE bring a message: may they?"""
        try:
            if self.user is None or self.mailbox is None:
                raise BadCommand("Log in first")
            if self.upload is None:
                self.upload = Upload(self)
            await self.upload.begin(event)
        except (BadCommand, No) as error:
            self._refuse_upload(event, error.status, error.code, error.text)
        except OverQuota as error:
            self._refuse_upload(event, b"NO", b"OVERQUOTA", str(error))
        except BadName as error:
            self._refuse_upload(event, b"NO", b"CANNOT", f"Not possible: {error}")
        except (OSError, IndexTrouble) as error:
            self._log_trouble(event.verb, error)
            self._refuse_upload(event, b"NO", *_words(error))
        else:
            self.reader.accept()
            if event.sync:
                self.send(b"+ OK\r\n")

    def _log_trouble(self, verb: bytes, error: Exception) -> None:
        # Who used up what was given to him is told so, and it concerns nobody else.
        if not isinstance(error, OSError) or error.errno != errno.EDQUOT:
            log.error(f"{self.who}: {verb.decode()}: {error}")

    def _refuse_upload(self, event: LiteralBegin, status: bytes, code: bytes, text: str) -> None:
        if self.upload is not None:
            self.upload.discard()
            self.upload = None
        self.reader.refuse()
        self._answer(event.tag, status, code, text)

    def scanner(self, command: Command) -> Scanner:
        """Over the arguments of a command."""
        return Scanner(command.args, utf8=self.utf8)

    @property
    def utf8(self) -> bool:
        return b"UTF8=ACCEPT" in self.enabled or b"IMAP4REV2" in self.enabled

    async def _obey(self, command: Command) -> bool:
        if command.verb not in _LONG:
            return await self._carry_out(command)
        self._tell_of(command.tag)
        try:
            return await self._carry_out(command)
        finally:
            assert self._patience is not None
            self._patience.cancel()

    def _tell_of(self, tag: bytes, *, telling: bool = False) -> None:
        """RFC 9585: a client that is told so does not give up."""
        if telling and not self._out and not self._paused:
            self.send(b"* OK [INPROGRESS (%b NIL NIL)] Still at it\r\n" % quoted(tag))
            self.flush()
        self._patience = self.loop.call_later(_PATIENCE, lambda: self._tell_of(tag, telling=True))

    async def _carry_out(self, command: Command) -> bool:
        found = COMMANDS.get(command.verb)
        self.with_uid = command.verb.startswith(b"UID ")
        self.verb = command.verb
        expunges = Updates.ALL
        try:
            if found is None:
                raise BadCommand("There is no such command")
            if found.state == "selected" and self.selected is None:
                raise BadCommand("Select a mailbox first")
            if found.state != "any" and (self.user is None) != (found.state == "before"):
                raise BadCommand("Log in first" if self.user is None else "You are logged in already")
            if b"UIDONLY" in self.enabled and command.verb in _NUMBERED:
                # RFC 9586 3
                raise UidRequired("Only UIDs can be used now")
            expunges = found.updates
            if self.selected is not None and found.state == "selected" and command.verb not in _LEAVING:
                await updates.prepare(self, self.selected)
            if self.watching is not None and self.watching.pending and command.verb in _NAMING:
                await self.watching.tell()
            answer = await found.run(self, command)
            status, code, text = b"OK", answer.code, answer.text or f"{command.verb.decode()} completed"
        except (BadCommand, No) as error:
            status, code, text = error.status, error.code, error.text
        except NoSuchFolder as error:
            failure = nonexistent(str(error))
            status, code, text = b"NO", failure.code, failure.text
        except FolderExists:
            status, code, text = b"NO", b"ALREADYEXISTS", "There is a mailbox of that name already"
        except BadName as error:
            status, code, text = b"NO", b"CANNOT", f"Not possible: {error}"
        except NoSuchMessage:
            status, code, text = b"NO", b"EXPUNGEISSUED", "A message was removed meanwhile"
        except OverQuota as error:
            status, code, text = b"NO", b"OVERQUOTA", str(error)
        except (OSError, IndexTrouble) as error:
            self._log_trouble(command.verb, error)
            status, (code, text) = b"NO", _words(error)
        except (Gone, asyncio.CancelledError):
            raise
        except Answered:
            return True
        except Exception as error:
            log.panic(f"{self.who}: {command.verb.decode()}: {type(error).__name__}: {error}")
            status, code, text = b"NO", b"SERVERBUG", "Internal error; it was logged"
        if self.upload is not None:
            self.upload.discard()
            self.upload = None
        if self.closed:
            raise Gone
        if self.selected is not None and expunges is not Updates.NONE:
            await self._announce(expunges)
        await self._tell_others(own=command.verb in _NAMING)
        self._answer(command.tag, status, code, text)
        self.flush()
        if self._paused:
            await self.drain_out()
        if command.verb == b"LOGOUT" and status == b"OK":
            return False
        if status == b"BAD":
            return self._count_failure()
        if status == b"OK":
            self._failures = 0
        return True

    def _answer(self, tag: bytes, status: bytes, code: bytes, text: str) -> None:
        bracketed = b"[%b] " % code if code else b""
        self.send(b"%b %b %b%b\r\n" % (tag, status, bracketed, text.encode("utf-8", "replace")))

    def _count_failure(self) -> bool:
        """A client that sends nothing but nonsense is not served for ever."""
        self._failures += 1
        limit = self.server.config.imapd_bad_command_limit
        if self._failures < limit or (self.user is not None and self._failures < 10 * limit):
            self.flush()
            return True
        log.info(f"{self.who}: disconnected after {self._failures} commands that were none")
        self.send(b"* BYE Too many bad commands\r\n")
        return False

    # For commands

    async def tell_news(self) -> None:
        """Without being asked: while IDLE lasts, and with NOTIFY between commands."""
        self._woken = False
        delayed = not self.idling and self.watching is not None and self.watching.delayed
        await self._announce(Updates.NO_EXPUNGE if delayed else Updates.ALL)
        await self._tell_others()
        self.flush()
        if self.is_crowded:
            # Nobody hears of more than what a client has not read yet: it waits in the index.
            await self.drain_out()

    async def _announce(self, expunges: Updates) -> None:
        watching = self.watching
        if expunges is Updates.NO_EXPUNGE and watching is not None and watching.filters and not watching.delayed:
            # RFC 5465 5.3: whoever asks for SELECTED uses no message numbers.
            expunges = Updates.ALL
        try:
            await updates.announce(self, expunges)
        except (OSError, IndexTrouble) as error:
            if not _passes(error):
                raise
            # What was not told is told with the next command.
            log.error(f"{self.who}: cannot look for news: {error}")
            return
        if self.selected is not None and self.selected.arrived:
            await tell_arrived(self, self.selected)

    async def _tell_others(self, *, own: bool = False) -> None:
        """Of the mailboxes that are not selected. ``own``: behind a command of this client that makes such news."""
        watching = self.watching
        if watching is None or not watching.pending:
            return
        try:
            await (watching.skip() if own else watching.tell())
        except (OSError, IndexTrouble) as error:
            if not _passes(error):
                raise
            # It is told with the next command.
            log.error(f"{self.who}: cannot look for news: {error}")

    def line_of(self, event: Event) -> bytes:
        """What the client said when it was asked for a line. Raises BadCommand, Gone."""
        if isinstance(event, Bye):
            # A line without an end: nothing that comes behind it can be told from it.
            self.send(f"* BYE {event.text}\r\n".encode())
            raise Gone
        if not isinstance(event, Line):
            raise BadCommand(event.text if isinstance(event, Bad) else "A line was asked for")
        return event.data

    def hint(self, path: str, folder: str) -> None:
        """A folder of this account has changed."""
        if self.watching is not None and self.watching.hint(path, folder):
            self.wake()

    def start_notifying(self, watching: "Watching", *, between: bool) -> None:
        if self.watching is not None:
            self.watching.close()
        self.watching = watching
        self.notifying = between
        self.server.noticing.add(self)

    def stop_notifying(self, *, silence: bool = False) -> None:
        """``silence``: as after NOTIFY NONE (RFC 5465 3.1): not even the selected mailbox is told of."""
        if self.watching is not None:
            self.watching.close()
        self.watching = Watching(self, Notify(False, ())) if silence else None
        self.notifying = False
        self.server.noticing.discard(self)

    def enable_condstore(self) -> None:
        """A command that needs it was used. RFC 7162 3.1: the client is told where the selected mailbox is."""
        if b"CONDSTORE" not in self.enabled:
            self.enabled.add(b"CONDSTORE")
            if self.selected is not None:
                self.send(b"* OK [HIGHESTMODSEQ %d] Highest\r\n" % self.selected.seen_modseq)

    async def log_in(self, user: User) -> None:
        """Raises No when the mailbox cannot be opened, or the user has too many connections."""
        server = self.server
        # The client has done what it had to: a mailbox can take longer to open than its login may take.
        self.expect_by(server.config.imapd_timeout)
        # At the same time: opening is often a file's work, and counting another process's.
        entering = self.loop.create_task(server.logins.enter(user.name, self.peer.address))
        try:
            self.mailbox = await server.mailboxes.open(user)
        except (OSError, IndexTrouble) as error:
            log.error(f"{user.name}: cannot open the mailbox {user.mailbox}: {error}")
            raise No("The mailbox cannot be opened now; it was logged", b"UNAVAILABLE") from None
        finally:
            self._counted = await entering
            if self.mailbox is None or self._counted is None:
                self._give_back()
        if self._counted is None:
            # RFC 5530 3
            raise No("You have too many connections already", b"LIMIT")
        self.user = user
        self.reader.set_literal_limit(server.config.imapd_literal_limit)

    def log_out(self) -> None:
        """UNAUTHENTICATE (RFC 8437): as after the greeting."""
        self.unselect()
        self.stop_notifying()
        self._give_back()
        self.user = None
        self.enabled.clear()
        self.extra.clear()
        self.notifying = False
        self.reader.set_literal_limit(_LITERAL_BEFORE_LOGIN)

    def _give_back(self) -> None:
        """The account, and the place among the user's connections."""
        if self.mailbox is not None:
            self.server.mailboxes.release(self.mailbox)
        if self._counted is not None:
            self.server.logins.leave(self._counted)
        self.mailbox = self._counted = None

    def unselect(self) -> None:
        """No mailbox is selected any more."""
        selected, self.selected = self.selected, None
        if selected is not None:
            self.server.unwatch(self, selected)
            if selected.mailbox is not self.mailbox:
                self.server.mailboxes.release(selected.mailbox)


def _passes(error: Exception) -> bool:
    """Is it trouble that a session can outlast: a full disk, an index that another process has had for long?"""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, IndexTrouble) and (is_busy(error) or is_full(error))


def _words(error: Exception) -> tuple[bytes, str]:
    """Response code and text for trouble of the system."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return b"OVERQUOTA", "The disk is full; the message was not stored"
    if isinstance(error, IndexTrouble) and is_busy(error):
        # RFC 5530 3
        return b"INUSE", "Another program has the mailbox to itself; please try again"
    return b"UNAVAILABLE", "Cannot do that now; it was logged. Please try again later"
