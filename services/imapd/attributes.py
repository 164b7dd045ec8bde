"""How a FETCH is answered: which columns of the index it takes, whether files, and the line of one message."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tubepost.common.imap.fetch import Attribute, Fetch
from tubepost.common.imap.write import date_time, nstring

from tubepost.common.mail.crlf import to_crlf
from tubepost.common.mailbox.interface import Folder
from tubepost.common.mailbox.store import NoSuchMessage
from tubepost.common.mailbox.values import COMMON_FIELDS

from tubepost.services.imapd import content, surrogates, updates
from tubepost.services.imapd.content import Message, Piece
from tubepost.services.imapd.selected import Selected

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session

Row = Sequence[Any]

# Attribute to the column that it is made of.
_COLUMNS = {
    b"UID": "uid",
    b"FLAGS": "flagset",
    b"INTERNALDATE": "internal",
    b"RFC822.SIZE": "size",
    b"MODSEQ": "modseq",
    b"SAVEDATE": "saved",
    b"EMAILID": "emailid",
    b"THREADID": "threadid",
    b"ENVELOPE": "envelope",
    b"BODY": "body",
    b"BODYSTRUCTURE": "structure",
    b"PREVIEW": "preview",
}
# As ``surrogates.summary`` has them.
_SHOWN = ("envelope", "body", "structure")
# Files that are read at a time, with the account to oneself.
_FILES = 32
# These are NULL in the index until somebody asks for them.
_SUMMARY = frozenset({"threadid", "headers", "envelope", "body", "structure", "preview"})


class Plan:
    """Of one command."""

    def __init__(self, session: "Session", selected: Selected, request: Fetch) -> None:
        self._session = session
        self._selected = selected
        self._attributes = request.attributes
        names = [item.name for item in request.attributes]
        self.files = any(_needs_file(item) for item in request.attributes)
        self.tells_flags = b"FLAGS" in names
        self.tells_modseq = b"MODSEQ" in names or request.changed_since is not None
        self.marks = any(item.sets_seen for item in request.attributes)
        self.uid_only = b"UIDONLY" in session.enabled
        self.is_flags_only = set(names) <= {b"UID", b"FLAGS"} and b"FLAGS" in names
        self.flags_with_uid = b"UID" in names
        self.flags_form = (
            b"* %d UIDFETCH (FLAGS %b)\r\n"
            if self.uid_only
            else b"* %d FETCH (UID %d FLAGS %b)\r\n"
            if self.flags_with_uid
            else b"* %d FETCH (FLAGS %b)\r\n"
        )
        columns = ["uid", "flagset"]
        self._makers: list[Callable[[Row], bytes] | Attribute] = []
        if self.files:
            columns += ["size", "place", "file", "info"]
        for item in request.attributes:
            fields = _common_fields(item)
            if fields is not None:
                if "headers" not in columns:
                    columns.append("headers")
                self._makers.append(_headers_maker(item, fields, columns.index("headers")))
                continue
            column = _COLUMNS.get(item.name) if item.section is None else None
            if column is None:
                self._makers.append(item)
                continue
            if item.name == b"UID" and self.uid_only:
                # RFC 9586 3.3: it stands in the place of the number.
                continue
            if column not in columns:
                columns.append(column)
            self._makers.append(self._maker(item.name, columns.index(column)))
        self._columns = tuple(columns)
        self._lazy = [columns.index(column) for column in columns if column in _SUMMARY]
        # RFC 9755 7, RFC 6858: what may be UTF-8 in these columns goes to no client that has not enabled it.
        self._ascii = not session.utf8
        self._shown = [columns.index(column) for column in columns if column in _SHOWN]
        self._headers = columns.index("headers") if "headers" in columns else 0
        self.downgraded: set[int] = set()
        """UIDs of messages that were not told as they are."""

    @property
    def width(self) -> int:
        """Attributes of each message."""
        return len(self._attributes)

    def file_of(self, row: Row) -> tuple[int, int, str, str]:
        """Size, place, file and info, for ``read_message``."""
        return row[2], row[3], row[4], row[5]

    async def read(self, uids: Sequence[int], octets: int) -> tuple[list[Row], int]:
        """The rows of these messages; summaries are made where they are missing. And of how many of the messages these
        are: of fewer when their texts take more than so many octets (0: whatever they take), yet at least of one."""
        mailbox, folder = self._selected.mailbox, self._selected.folder
        octets = octets if self._lazy else 0
        async with mailbox.lock:
            rows: list[Row] = list(folder.rows(self._columns, uids, octets))
        if self._lazy and any(row[index] is None for row in rows for index in self._lazy):
            await mailbox.work(folder.complete, uids)
            async with mailbox.lock:
                rows = list(folder.rows(self._columns, uids, octets))
        # What comes behind the last of them is looked at the next time, be it there or not.
        count = bisect_right(uids, rows[-1][0]) if octets and rows else len(uids)
        if self._ascii and (self._shown or self._headers):
            rows = await self._without_utf8(rows)
        return rows, count

    async def _without_utf8(self, rows: list[Row]) -> list[Row]:
        if self._headers:
            rows = [self._ascii_headers(row) for row in rows]
        wanted = [row[0] for row in rows if any(row[index] and not row[index].isascii() for index in self._shown)]
        if not wanted:
            return rows
        made: dict[int, dict[str, bytes]] = {}
        for start in range(0, len(wanted), _FILES):
            made |= await self._selected.mailbox.work(_summaries, self._selected.folder, wanted[start : start + _FILES])
        self.downgraded.update(made)
        columns = self._columns
        return [
            _replaced(row, {index: made[row[0]][columns[index]] for index in self._shown}) if row[0] in made else row
            for row in rows
        ]

    def _ascii_headers(self, row: Row) -> Row:
        kept = row[self._headers]
        if kept is None or kept.isascii():
            return row
        made = to_crlf(surrogates.ascii_fields(kept))
        if made == kept:
            return row
        self.downgraded.add(row[0])
        return _replaced(row, {self._headers: made})

    def line(self, number: int, row: Row) -> bytes:
        """The whole response of a message that needs no file."""
        items = b" ".join([maker(row) for maker in self._makers])  # type: ignore[operator]
        if self.uid_only:
            return b"* %d UIDFETCH (%b)\r\n" % (row[0], items)
        return b"* %d FETCH (%b)\r\n" % (number, items)

    def check(self, message: Message) -> None:
        """Before anything is sent of it. Raises UnknownEncoding."""
        for maker in self._makers:
            if isinstance(maker, Attribute) and maker.name in (b"BINARY", b"BINARY.SIZE"):
                content.check_encoding(message, maker)

    def pieces(self, number: int, row: Row, message: Message) -> Iterator[Piece]:
        """The same with parts of the file, of a message that was checked: each is made when it is wanted, for a client
        may want the whole of it many times."""
        utf8 = self._session.utf8
        text = b"* %d UIDFETCH (" % row[0] if self.uid_only else b"* %d FETCH (" % number
        for maker in self._makers:
            if not isinstance(maker, Attribute):
                text += maker(row) + b" "
                continue
            text += maker.echo + b" "
            if maker.name == b"BINARY.SIZE":
                yield text + content.binary_size(message, maker)
                text = b" "
                continue
            value = (
                content.binary_body(message, maker)
                if maker.name == b"BINARY"
                else content.body(message, maker, utf8=utf8)
            )
            yield text
            yield from value
            text = b" "
        # The blank behind the last item.
        yield text[:-1] + b")\r\n"

    def _maker(self, name: bytes, index: int) -> Callable[[Row], bytes]:
        utf8 = self._session.utf8
        match name:
            case b"FLAGS":
                return _flags_maker(self._session, self._selected)
            case b"INTERNALDATE":
                return lambda row: b"INTERNALDATE " + date_time(row[index])
            case b"SAVEDATE":
                return lambda row: b"SAVEDATE " + date_time(row[index])
            case b"MODSEQ":
                return lambda row: b"MODSEQ (%d)" % row[index]
            case b"EMAILID":
                return lambda row: b"EMAILID (%b)" % row[index].encode()
            case b"THREADID":
                return lambda row: b"THREADID (%b)" % row[index].encode() if row[index] else b"THREADID NIL"
            case b"PREVIEW":
                return lambda row: b"PREVIEW " + nstring(row[index], utf8=utf8)
            case b"ENVELOPE" | b"BODY" | b"BODYSTRUCTURE":
                form = name + b" %b"
                # A message whose file could not be read has no summary.
                return lambda row: form % (row[index] if row[index] is not None else b"NIL")
            case _:
                form = name + b" %d"
                return lambda row: form % row[index]


def _flags_maker(session: "Session", selected: Selected) -> Callable[[Row], bytes]:
    """It knows no plan: one that had itself among its makers would outlive its command, with the whole session."""
    texts: dict[int, bytes] = {}

    def make(row: Row) -> bytes:
        uid, flagset = row[0], row[1]
        if uid >= selected.recent and selected.is_recent(uid):
            return b"FLAGS " + updates.flags_of(session, selected, uid, flagset)
        known = texts.get(flagset)
        if known is None:
            known = texts[flagset] = b"FLAGS " + updates.flags_text(session, selected, flagset)
        return known

    return make


def _replaced(row: Row, values: dict[int, bytes]) -> Row:
    return [values.get(index, value) for index, value in enumerate(row)]


def _summaries(folder: Folder, uids: Sequence[int]) -> dict[int, dict[str, bytes]]:
    """Of those messages that need a surrogate."""
    found = {}
    for uid, *row in list(folder.rows(("uid", "size", "place", "file", "info"), uids)):
        try:
            message = content.read_message(folder, uid, *row)
        except (NoSuchMessage, OSError, ValueError):
            # Gone, or not to be read: what the index knows is told.
            continue
        try:
            if message.make_ascii() or message.is_large:
                found[uid] = dict(zip(_SHOWN, surrogates.summary(message.data), strict=True))
        finally:
            message.close()
    return found


def _common_fields(item: Attribute) -> frozenset[bytes] | None:
    """The names of HEADER.FIELDS of the message when the index has them all."""
    section = item.section
    if section is None or section.path or section.text != b"HEADER.FIELDS" or item.partial is not None:
        return None
    names = frozenset(name.lower() for name in section.fields)
    return names if names <= COMMON_FIELDS else None


def _headers_maker(item: Attribute, names: frozenset[bytes], index: int) -> Callable[[Row], bytes]:
    wanted = re.compile(
        rb"^(?:%b)[ \t]*+:[^\n]*+\n(?:[ \t][^\n]*+\n)*+" % b"|".join(map(re.escape, names)), re.M | re.I
    )
    name = item.echo

    def make(row: Row) -> bytes:
        kept = row[index]
        if kept is None:
            return name + b" NIL"
        text = b"".join(wanted.findall(kept))
        # The empty line that ends the header.
        if kept.endswith(b"\r\n\r\n") or kept == b"\r\n":
            text += b"\r\n"
        return b"%b {%d}\r\n%b" % (name, len(text), text)

    return make


def _needs_file(item: Attribute) -> bool:
    if _common_fields(item) is not None:
        return False
    return item.section is not None or item.name in (b"RFC822", b"RFC822.HEADER", b"RFC822.TEXT")
