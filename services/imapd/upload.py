"""Messages that APPEND and REPLACE bring, written into files as they come."""

from typing import TYPE_CHECKING

from tubepost.common.imap.append import Append, Replace, append, replace
from tubepost.common.imap.parse import Scanner
from tubepost.common.imap.reader import LiteralBegin

from tubepost.common.system import log
from tubepost.common.mailbox.interface import Draft
from tubepost.common.mailbox.store import NoSuchFolder

from tubepost.services.imapd import places
from tubepost.services.imapd.replies import No

if TYPE_CHECKING:
    from tubepost.common.skeleton.mailboxes import Mailbox

    from tubepost.services.imapd.session import Session


# Literals of one command: each is an open file until all are there.
_PIECES = 200


class Upload:
    """Of one command. ``pieces``: a draft for each literal, in order; CATENATE makes one message of several."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self.pieces: list[Draft] = []
        self.target: Mailbox | None = None
        self.total = 0
        self._current: Draft | None = None
        self._failed: OSError | None = None

    async def begin(self, event: LiteralBegin) -> None:
        """May this message come? Raises No, BadCommand, OSError."""
        session = self._session
        scanner = Scanner(event.args, utf8=session.utf8)
        request: Append | Replace
        if event.verb == b"APPEND":
            request = append(scanner, beginning=True)
        else:
            request = replace(scanner, beginning=True)
        if len(self.pieces) >= _PIECES:
            raise No("Too many messages or parts in one command", b"LIMIT")
        limit = session.server.config.imapd_append_limit
        self.total += event.size
        if limit and self.total > limit:
            # RFC 7889 4: TOOBIG.
            raise No(f"The message is larger than the limit of {limit} octets", b"TOOBIG")
        try:
            place = await places.find(session, request.mailbox, "i")
        except No as error:
            # RFC 9051 6.3.12: TRYCREATE, unless it is plain that it cannot be created.
            raise No(error.text, b"TRYCREATE" if error.code == b"NONEXISTENT" else error.code) from None
        try:
            await places.check_room(place, self.total - await self._replaced(event, request))
            folder = await place.mailbox.quick(place.open)
            async with place.mailbox.lock:
                # In the Maildir of the target: what is written there is only renamed later.
                self._current = folder.draft()
            self._current.raw = event.binary and not _catenates(request)
            self.pieces.append(self._current)
        except NoSuchFolder:
            raise No(f"There is no mailbox {request.mailbox[:60]!a}", b"TRYCREATE") from None
        finally:
            place.release()

    async def _replaced(self, event: LiteralBegin, request: Append | Replace) -> int:
        """Octets that REPLACE makes free (RFC 8508 3.4: only what is used on balance counts)."""
        selected = self._session.selected
        if not isinstance(request, Replace) or selected is None:
            return 0
        try:
            async with selected.mailbox.lock:
                uids = selected.resolve(request.number, event.verb.startswith(b"UID "))
                return sum(row[0] for row in selected.folder.rows(("size",), uids[:1]))
        except NoSuchFolder:
            # Renamed or removed meanwhile: that is told when the command is complete.
            return 0

    def write(self, data: bytes) -> bool:
        """False: it failed, and the rest need not come."""
        assert self._current is not None
        try:
            self._current.write(data)
        except OSError as error:
            log.error(f"{self._session.who}: cannot write a message: {error}")
            self._failed = error
        # What still comes is read and dropped: the client's command must end before it can be answered.
        return True

    def end(self) -> None:
        """The literal is complete."""
        if self._current is not None and self._failed is None:
            try:
                self._current.finish()
            except OSError as error:
                self._failed = error
        self._current = None

    def take(self) -> list[Draft]:
        """All of them, for the command that asked for it; the caller discards or appends them. Raises OSError."""
        if self._failed is not None:
            raise self._failed
        pieces, self.pieces = self.pieces, []
        return pieces

    def discard(self) -> None:
        for draft in self.pieces:
            draft.discard()
        self.pieces.clear()


def _catenates(request: Append | Replace) -> bool:
    """Is what comes a part of a message (RFC 4469), not a whole one?"""
    last = request.message if isinstance(request, Replace) else request.messages[-1]
    return last.catenate
