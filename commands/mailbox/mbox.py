"""mbox files, read and written (RFC 4155, in the form that is called mboxrd).

A message begins with ``From `` behind an empty line; lines that look like that have a ``>`` before them, which is taken
off. Flags stand in Status, X-Status and X-Keywords, as mutt, Dovecot and UW-IMAP write them.
"""

import calendar
import datetime
import mmap
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from tubepost.common.mail.structure import header_block
from tubepost.common.mailbox.interface import Draft

from tubepost.commands.mailbox.intake import HEADER, Item, SourceFolder, message_id_of, open_source

_FROM = re.compile(
    rb"From (?P<sender>[^\r\n]*?) ++(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) (?P<month>[A-Z][a-z][a-z]) +(?P<day>[0-9]{1,2})"
    rb" (?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}))?(?: [A-Za-z][A-Za-z ]*)?"
    rb"(?: (?P<early>[+-][0-9]{4}))? (?P<year>[0-9]{4})(?: (?P<late>[+-][0-9]{4}))?[^\r\n]*"
)
# A From_ line is never longer.
_FROM_LIMIT = 1000
_NAMES = "JanFebMarAprMayJunJulAugSepOctNovDec"
_OWN = re.compile(
    rb"^(?:Status|X-Status|X-Keywords|X-UID|X-IMAP|X-IMAPbase)[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*",
    re.IGNORECASE | re.MULTILINE,
)
_LENGTH = re.compile(rb"^Content-Length[ \t]*:[ \t]*([0-9]{1,15})[ \t]*\r?\n", re.IGNORECASE | re.MULTILINE)
_STATUS = re.compile(rb"^(Status|X-Status|X-Keywords)[ \t]*:[ \t]*([^\n]*)", re.IGNORECASE | re.MULTILINE)
# The message in which UW-IMAP and Pine keep what they know of a folder.
_INTERNAL = re.compile(rb"^X-IMAP[ \t]*:", re.IGNORECASE | re.MULTILINE)
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)
_TO_QUOTE = re.compile(rb"^(>*From )", re.MULTILINE)
# The last second that a date of four digits has.
_LAST = 253402300799
_PIECE = 1 << 20
_BY_LETTER: dict[bytes, dict[str, str]] = {
    b"Status": {"R": "\\Seen"},
    b"X-Status": {"A": "\\Answered", "F": "\\Flagged", "T": "\\Draft", "D": "\\Deleted"},
}
_KEYWORD = re.compile(r"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]{1,255}")
SUFFIX = ".mbox"


class Found(NamedTuple):
    """A message of a file: where its From_ line is, where it begins and ends, its date in seconds or -1.

    ``counted``: its end was told by Content-Length, and no ``>`` was put before lines.
    """

    place: int
    start: int
    stop: int
    date: int
    counted: bool


class MboxFile:
    """One file, to be read. ``owner``: of the source. Raises OSError."""

    def __init__(self, path: str, owner: int) -> None:
        self.path = path
        fd = open_source(path, owner)
        try:
            self.data: bytes | mmap.mmap = b""
            if os.fstat(fd).st_size:
                self.data = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(fd)

    def close(self) -> None:
        if isinstance(self.data, mmap.mmap):
            self.data.close()

    def messages(self) -> Iterator[Found]:
        """In the order of the file."""
        data = self.data
        end = len(data)
        place = 0 if self._is_from(0) is not None else self._search(0)
        while place < end:
            start = self._after_line(place)
            counted = self._by_length(start)
            if counted is not None:
                yield Found(place, start, counted[0], self._date(place), True)
                place = counted[1]
                continue
            following = self._search(start)
            stop = following
            # The empty line before the next message is not part of this one.
            if stop > start and data[stop - 2 : stop] == b"\n\n":
                stop -= 1
            elif stop > start + 1 and data[stop - 4 : stop] == b"\r\n\r\n":
                stop -= 2
            yield Found(place, start, stop, self._date(place), False)
            place = following

    def _by_length(self, start: int) -> tuple[int, int] | None:
        """The end by Content-Length and the next From_ line, where the field is right: another message stands there.

        Who writes it (Dovecot, Solaris) need not put a ``>`` before lines that begin with From.
        """
        data = self.data
        block = data[start : start + HEADER]
        end, body = header_block(block)
        match = _LENGTH.search(block[:end])
        if match is None or body == end or block.startswith(b"Status: "):
            # Status as the first line: it was written here (flag_lines), and a Content-Length is the message's own.
            return None
        stop = start + body + int(match[1])
        if stop > len(data):
            return None
        following = stop
        while data[following : following + 1] in (b"\n", b"\r"):
            following += 1
        if following < len(data) and (data[following - 1 : following] != b"\n" or self._is_from(following) is None):
            return None
        return stop, following

    def _after_line(self, place: int) -> int:
        newline = self.data.find(b"\n", place)
        return len(self.data) if newline < 0 else newline + 1

    def _is_from(self, place: int) -> re.Match[bytes] | None:
        return _FROM.match(self.data[place : place + _FROM_LIMIT])

    def _search(self, place: int) -> int:
        """The next From_ line from here on; the end when there is none."""
        data = self.data
        at = max(place - 1, 0)
        while (at := data.find(b"\nFrom ", at)) >= 0:
            # An empty line stands before it, or nothing at all.
            before = data[max(at - 2, 0) : at]
            if (at < place or before.endswith((b"\n", b"\n\r"))) and self._is_from(at + 1) is not None:
                return at + 1
            at += 1
        return len(data)

    def _date(self, place: int) -> int:
        match = self._is_from(place)
        if match is None:
            return -1
        try:
            zone = match["late"] or match["early"]
            moment = datetime.datetime(
                int(match["year"]),
                _NAMES.index(match["month"].decode()) // 3 + 1,
                int(match["day"]),
                int(match["hour"]),
                int(match["minute"]),
                min(int(match["second"] or 0), 59),
            )
            if zone is None:
                # Programs write their own time, whatever RFC 4155 says.
                return int(moment.timestamp())
            offset = int(zone[1:3]) * 3600 + int(zone[3:5]) * 60
            return calendar.timegm(moment.timetuple()) - (-offset if zone.startswith(b"-") else offset)
        except (ValueError, OverflowError):
            return -1

    def header(self, start: int, stop: int) -> bytes:
        """Of a message, LF at the ends of lines."""
        block = self.data[start : min(stop, start + HEADER)]
        return block[: header_block(block)[0]].replace(b"\r\n", b"\n")

    def content(self, start: int, stop: int, counted: bool = False) -> Iterator[bytes]:
        """A message as it was before it came into this file. ``counted``: see Found."""
        block = self.data[start : min(stop, start + HEADER)]
        body = start + header_block(block)[0]
        header = _OWN.sub(b"", self.data[start:body].replace(b"\r\n", b"\n"))
        if counted:
            yield _LENGTH.sub(b"", header)
            yield from self._pieces(body, stop)
            return
        yield header
        for piece, at_start in _in_lines(self._pieces(body, stop)):
            yield _sub_lines(_QUOTED, rb"\1", piece, at_start)

    def _pieces(self, place: int, stop: int) -> Iterator[bytes]:
        for start in range(place, stop, _PIECE):
            yield self.data[start : min(start + _PIECE, stop)]


def flags_of(header: bytes) -> tuple[str, ...]:
    """What Status, X-Status and X-Keywords tell."""
    found: dict[str, None] = {}
    for name, value in _STATUS.findall(header):
        text = value.decode("ascii", "ignore")
        if name.lower() == b"x-keywords":
            found.update((word, None) for word in text.split() if _KEYWORD.fullmatch(word))
            continue
        letters = _BY_LETTER[b"Status" if name.lower() == b"status" else b"X-Status"]
        found.update((letters[letter], None) for letter in text.upper() if letter in letters)
    return tuple(found)


def flag_lines(flags: Iterable[str]) -> bytes:
    """The header lines that tell the flags."""
    kept = list(flags)
    status = ("R" if "\\Seen" in kept else "") + "O"
    extra = "".join(letter for letter, flag in _BY_LETTER[b"X-Status"].items() if flag in kept)
    keywords = [flag for flag in kept if not flag.startswith("\\")]
    lines = f"Status: {status}\n"
    if extra:
        lines += f"X-Status: {extra}\n"
    if keywords:
        lines += f"X-Keywords: {' '.join(keywords)}\n"
    return lines.encode("ascii", "replace")


def write_message(fd: int, flags: Iterable[str], internal: int, write: Callable[[bytes], object]) -> None:
    """A message of the store in this form; ``fd``: its file. Raises OSError."""
    # RFC 4155 wants UTC, most programs write their own time: with the zone it cannot be mistaken.
    day = time.asctime(time.gmtime(min(max(internal, 0), _LAST)))
    write(f"From MAILER-DAEMON  {day} +0000\n".encode())
    write(flag_lines(flags))
    last = b"\n"
    for piece, at_start in _in_lines(_file_pieces(fd)):
        write(_sub_lines(_TO_QUOTE, rb">\1", piece, at_start))
        last = piece[-1:]
    write(b"\n" if last == b"\n" else b"\n\n")


def _file_pieces(fd: int) -> Iterator[bytes]:
    place = 0
    while piece := os.pread(fd, _PIECE, place):
        yield piece
        place += len(piece)


def _in_lines(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Pieces that end with a line, and whether they begin with one: a very long line is cut all the same."""
    held = b""
    at_start = True
    for piece in pieces:
        data = held + piece if held else piece
        newline = data.rfind(b"\n")
        if newline < 0 and len(data) < _PIECE:
            held = data
            continue
        cut = newline + 1 if newline >= 0 else len(data)
        held = data[cut:]
        yield data[:cut], at_start
        at_start = newline >= 0
    if held:
        yield held, at_start


def _sub_lines(pattern: re.Pattern[bytes], by: bytes, piece: bytes, at_start: bool) -> bytes:
    if at_start:
        return pattern.sub(by, piece)
    line_end = piece.find(b"\n") + 1 or len(piece)
    return piece[:line_end] + pattern.sub(by, piece[line_end:])


def _octets(pieces: Iterable[bytes]) -> int:
    """With CRLF line ends."""
    total = 0
    last = b""
    for piece in pieces:
        total += len(piece) + piece.count(b"\n")
        if b"\r" in piece or last == b"\r":
            total -= piece.count(b"\r\n") + (last == b"\r" and piece[:1] == b"\n")
        last = piece[-1:]
    return total


def encode_path(folder: str) -> str:
    """A folder's name as a relative path that leads nowhere else; levels are directories."""
    parts = [part.replace("%", "%25") for part in folder.split("/")]
    return "/".join("%2E" + part[1:] if part.startswith(".") else part for part in parts)


def decode_path(path: str) -> str:
    return "INBOX" if path.upper() == "INBOX" else unquote(path)


class MboxSource:
    """A file is one folder, INBOX; of a directory each file ``*.mbox`` is one, by its path. Raises OSError."""

    def __init__(self, path: str) -> None:
        self._files: dict[str, str] = {}
        self._owner = os.lstat(path.rstrip("/") or "/").st_uid
        if os.path.isdir(path):
            for base, folders, files in os.walk(path):
                folders.sort()
                for name in sorted(files):
                    if name.endswith(SUFFIX):
                        whole = os.path.join(base, name)
                        self._files[decode_path(os.path.relpath(whole, path)[: -len(SUFFIX)])] = whole
        else:
            os.stat(path)
            self._files["INBOX"] = path
        self._open: tuple[str, MboxFile] | None = None
        self._places: dict[int, tuple[int, int, bool]] = {}

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _file(self, name: str) -> MboxFile:
        if self._open is None or self._open[0] != name:
            self.close()
            self._open = (name, MboxFile(self._files[name], self._owner))
        return self._open[1]

    def folders(self) -> list[SourceFolder]:
        return [SourceFolder(name, b"") for name in self._files]

    def subscriptions(self) -> list[str]:
        return []

    def items(self, folder: SourceFolder) -> list[Item]:
        file = self._file(folder.name)
        self._places = {}
        found = []
        for place, start, stop, date, counted in file.messages():
            header = file.header(start, stop)
            if place == 0 and _INTERNAL.search(header):
                continue
            size = _octets(file.content(start, stop, counted))
            found.append(Item(place, message_id_of(header), size, date, flags_of(header)))
            self._places[place] = start, stop, counted
        return found

    def fetch(
        self, folder: SourceFolder, items: Sequence[Item], make: Callable[[], Draft]
    ) -> Iterator[tuple[Item, Draft]]:
        """``folder``: the one whose ``items`` were asked for last."""
        file = self._file(folder.name)
        for item in items:
            draft = make()
            try:
                for piece in file.content(*self._places[item.handle]):
                    draft.write(piece)
                draft.finish()
            except BaseException:
                draft.discard()
                raise
            yield item, draft
