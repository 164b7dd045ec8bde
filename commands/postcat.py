"""postcat: shows queue files (Postfix manual: postcat(1)).

    postcat [-bdefhorv] [-s offset] [file...]      files by name; without one, standard input
    postcat -q [-bdefhorv] [-s offset] queue_id... search the queue for them

-e envelope, -h header, -b body (all three unless one is given); -d each record's type in decimal, -o its offset in the
file, -f the file's name before each line; -r in file order (content first, then envelope), -s from an offset on, -v
names also before lines of text. Record names and types are Postfix's, so that what reads its postcat reads this one.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tubepost.common.mail import address, header
from tubepost.common.wire.envelope import Envelope, Recipient
from tubepost.common.system import log
from tubepost.common.system.ids import is_queue_id
from tubepost.common.spool import Damaged, Incomplete, QueueFile, Spool
from tubepost.common.spool.queuefile import read_queue_file

from tubepost.commands.console import Console, Fatal, read_options, run

_USAGE = (
    "[-b (body text)] [-c config_dir] [-d (decimal record type)] [-e (envelope records)] [-h (header text)] "
    "[-q (access queue)] [-v] [file(s)...]"
)
_QUEUES = ("maildrop", "incoming", "active", "deferred", "hold", "corrupt", "saved")
_TRIES = 2
# Postfix's record types, as numbers.
_TYPES = {
    "message_size": "C",
    "message_arrival_time": "T",
    "sender_fullname": "F",
    "content_filter": "L",
    "sender": "S",
    "done_recipient": "D",
    "recipient": "R",
    "original_recipient": "O",
    "named_attribute": "A",
    "regular_text": "N",
    "verp_delimiters": "V",
    "redirect_to": "J",
    "MESSAGE CONTENTS": "M",
    "HEADER EXTRACTED": "X",
    "MESSAGE FILE END": "E",
}
_LINE_LIMIT = 1024 * 1024
_NOTIFY_BITS = {"NEVER": 1, "SUCCESS": 2, "FAILURE": 4, "DELAY": 8}


class Record(NamedTuple):
    """``name`` in capitals: a marker between the parts of the file."""

    offset: int
    name: str
    text: bytes


class Show:
    """What is to be seen, and how."""

    def __init__(self, letters: set[str], start: int, verbose: bool) -> None:
        parts = letters & set("beh")
        self.parts = parts or set("beh")
        self.with_type = "d" in letters
        self.with_offset = "o" in letters
        self.with_name = "f" in letters
        self.raw = "r" in letters
        self.start = start
        self.verbose = verbose

    def print(self, record: Record, title: str) -> None:
        marker = record.name.isupper()
        line = b""
        if self.with_name and not (marker and record.name == "ENVELOPE RECORDS"):
            line += f"{title}: ".encode("utf-8", "surrogateescape")
        if record.name != "ENVELOPE RECORDS":
            if self.with_offset:
                line += b"%9d " % record.offset
            if self.with_type:
                line += b"%3d " % ord(_TYPES[record.name])
        if marker:
            line += f"*** {record.name} {title} ***".encode("utf-8", "surrogateescape")
        elif record.name == "regular_text" and not self.verbose:
            line += record.text
        else:
            line += record.name.encode() + b": " + record.text
        sys.stdout.buffer.write(line + b"\n")


def _asctime(seconds: float) -> str:
    return time.asctime(time.localtime(seconds))


def _attributes(envelope: Envelope, flags: bytes) -> Iterator[tuple[str, str]]:
    """Names as in Postfix's queue files, where it has them."""
    origin = envelope.origin
    yield "log_client_name", origin.client_name if origin.client_address else ""
    yield "log_client_address", origin.client_address
    yield "log_client_port", origin.client_port
    yield "log_helo_name", origin.helo
    yield "log_protocol_name", origin.protocol
    yield "client_name", origin.client_name if origin.client_address else ""
    yield "client_address", origin.client_address
    yield "client_port", origin.client_port
    yield "helo_name", origin.helo
    yield "protocol_name", origin.protocol
    yield "sasl_method", origin.sasl_method
    yield "sasl_username", origin.sasl_username
    yield "sasl_sender", origin.sasl_sender
    yield "log_ident", origin.log_ident
    yield "uid", str(origin.uid) if origin.uid >= 0 else ""
    yield "encoding", envelope.encoding
    yield "rewrite_context", envelope.rewrite_context
    yield "smtputf8", "1" if envelope.smtputf8 else ""
    yield "envelope_id", envelope.envid
    yield "ret_flags", {"": "", "FULL": "1", "HDRS": "2"}[envelope.ret]
    yield "trace", envelope.trace
    yield "queue_flags", flags.decode("ascii", "replace").replace("-", "")


def _envelope(file: QueueFile) -> Iterator[Record]:
    envelope, at = file.envelope, file.envelope_offset

    def record(name: str, text: str) -> Record:
        return Record(at, name, log.clean(text).encode("utf-8", "surrogateescape"))

    numbers = (file.content_length, file.content_offset, file.recipient_count, file.size)
    yield record("message_size", " ".join([f"{number:15d}" for number in numbers]))
    yield record("message_arrival_time", _asctime(envelope.arrival_time))
    for name, value in _attributes(envelope, file.flags):
        if value:
            yield record("named_attribute", f"{name}={value}")
    for name, value in (
        ("sender_fullname", envelope.fullname),
        ("content_filter", envelope.content_filter),
        ("redirect_to", envelope.redirect),
        ("verp_delimiters", envelope.verp),
    ):
        if value:
            yield record(name, value)
    # As Postfix's files have them: without the quotes of the external form.
    yield record("sender", address.unquote(envelope.sender))
    for offset, done, recipient, _ in file.recipients():
        yield from _recipient(offset, done, recipient)


def _recipient(offset: int, done: bool, recipient: Recipient) -> Iterator[Record]:
    def record(name: str, text: str) -> Record:
        return Record(offset, name, log.clean(text).encode("utf-8", "surrogateescape"))

    if recipient.orcpt:
        yield record("named_attribute", f"dsn_orig_rcpt={recipient.orcpt}")
    if recipient.notify:
        yield record("named_attribute", f"notify_flags={sum(_NOTIFY_BITS[one] for one in recipient.notify)}")
    if recipient.original:
        yield record("original_recipient", address.unquote(recipient.original))
    yield record("done_recipient" if done else "recipient", address.unquote(recipient.address))


def _content(file: QueueFile, parts: set[str]) -> Iterator[Record]:
    """Header and body lines, those that are wanted. Very long lines come in pieces."""
    in_header = True
    offset = file.content_offset
    left = file.content_length
    with open(os.dup(file.fd), "rb") as stream:
        stream.seek(offset)
        while left:
            line = stream.readline(min(left, _LINE_LIMIT))
            if not line:
                raise Damaged("the content is shorter than the preamble says")
            if in_header and not (header.is_header(line) or (line[:1] in b" \t" and offset > file.content_offset)):
                in_header = False
                if "b" not in parts:
                    return
            if ("h" if in_header else "b") in parts:
                yield Record(offset, "regular_text", line.removesuffix(b"\n"))
            offset += len(line)
            left -= len(line)


def _records(file: QueueFile, show: Show) -> Iterator[Record]:
    """In Postfix's order, envelope first; raw: as they stand in the file."""
    envelope = "e" in show.parts
    if envelope and not show.raw:
        yield Record(0, "ENVELOPE RECORDS", b"")
        yield from _envelope(file)
    if envelope:
        yield Record(file.content_offset, "MESSAGE CONTENTS", b"")
    if show.parts & set("bh"):
        yield from _content(file, show.parts)
    if envelope:
        if show.raw:
            yield Record(file.envelope_offset, "ENVELOPE RECORDS", b"")
            yield from _envelope(file)
        else:
            # Recipients that were found in the header stand with the others here.
            yield Record(file.size, "HEADER EXTRACTED", b"")
        yield Record(file.size, "MESSAGE FILE END", b"")


def _print_file(console: Console, fd: int, title: str, show: Show) -> None:
    """Takes over the descriptor."""
    try:
        file = read_queue_file(fd)
    except (Incomplete, Damaged) as error:
        os.close(fd)
        why = str(error) or "it is not complete"
        console.warning(f"{title}: input is not a valid queue file: {why}")
        return
    with file:
        for record in _records(file, show):
            if record.offset >= show.start:
                show.print(record, title)


def _standard_input() -> int:
    """A pipe cannot be read here and there: it is kept in a file first."""
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.flush()
        return os.dup(copy.fileno())


def _open_queued(spool: Spool, queue_id: str) -> tuple[int, str]:
    if not is_queue_id(queue_id):
        raise Fatal(1, f"bad mail queue ID: {queue_id}")
    # It may move from one queue into another that was just looked at.
    for _ in range(_TRIES):
        for queue in _QUEUES:
            path = spool.path(queue, queue_id)
            try:
                flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
                return os.open(path, flags), os.path.normpath(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise Fatal(1, f"open queue file {queue_id}: {error.strerror}") from None
    raise Fatal(1, f"open queue file {queue_id}: No such file or directory")


def _work(console: Console, arguments: Sequence[str]) -> int:
    options, names = read_options(console, arguments, "bc:defhoqrs:v", _USAGE)
    letters: set[str] = set()
    start = 0
    for letter, value in options:
        if letter == "c":
            console.directory = value
        elif letter == "v":
            console.verbose += 1
        elif letter == "s":
            if not (value.isascii() and value.isdigit()):
                raise Fatal(1, f"bad offset: {value}")
            start = int(value)
        else:
            letters.add(letter)
    show = Show(letters, start, console.verbose > 0)
    if not names:
        _print_file(console, _standard_input(), "stdin", show)
    elif "q" in letters:
        config = console.open()
        spool = Spool(".", tuple(config.hash_queue_names), config.hash_queue_depth)
        for name in names:
            _print_file(console, *_open_queued(spool, name), show)
    else:
        for name in names:
            try:
                fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise Fatal(1, f"open {name}: {error.strerror}") from None
            _print_file(console, fd, name, show)
    sys.stdout.buffer.flush()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    console = Console("postcat")
    return run(console, lambda: _work(console, sys.argv[1:] if arguments is None else arguments), 1)


if __name__ == "__main__":
    sys.exit(main())
