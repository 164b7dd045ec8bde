"""tubepost mailbox fetch: messages on the terminal: a table, headers, a whole message, one part; JSON for programs."""

import base64
import mmap
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from tubepost.common.imap.sections import find_part

from tubepost.common.mail import charset, structure, text
from tubepost.common.mail.crlf import Data
from tubepost.common.mail.structure import Part
from tubepost.common.mail.transfer import UnknownEncoding, decode_chunks
from tubepost.common.mailbox.interface import Folder
from tubepost.common.mailbox.store import NoSuchMessage

from tubepost.commands.accounts import EX_DATAERR, fail, faults, print_json, print_rows, print_size
from tubepost.commands.mailbox.places import FOLDERS, JSON, Place, System, matching
from tubepost.commands.mailbox.query import HELP, QUERY, find, parse

_PIECE = 1 << 20
# Octets of one message's content in JSON.
_JSON_LIMIT = 64 << 20
_LETTERS = {"\\Seen": "S", "\\Answered": "R", "\\Flagged": "F", "\\Deleted": "T", "\\Draft": "D"}
_CONTROL = dict.fromkeys((*range(32), *range(127, 160)))
_COLUMNS = ("uid", "flagset", "internal", "saved", "size", "modseq", "emailid", "threadid", "preview", "headers")


@click.command(epilog=HELP)
@click.argument("account", metavar="ACCOUNT")
@QUERY
@FOLDERS
@click.option("--headers", "what", flag_value="headers", help="The header of each message.")
@click.option("--message", "what", flag_value="message", help="Each message as it is.")
@click.option("--structure", "what", flag_value="structure", help="Which parts each message has.")
@click.option("--part", default="", metavar="1.2", help="One part of each message, decoded.")
@JSON
@click.pass_obj
def fetch(
    directory: str,
    account: str,
    query: tuple[str, ...],
    folders: tuple[str, ...],
    what: str | None,
    part: str,
    as_json: bool,
) -> None:
    """Show messages: a table with one line each, or what the options say. ACCOUNT may be a glob."""
    if part and what:
        fail("say either --part or one of the others")
    with faults():
        key = parse(query)
        path = _path(part)
    system = System(directory)
    found: list[dict[str, Any]] = []
    shown = 0
    for place, opened in system.accounts([account]):
        with system.guard(place):
            for info in matching(opened, folders):
                folder = opened.folder(info.name)
                uids = find(folder, key)
                if what is None and not path:
                    found += _table(place, folder, uids)
                    continue
                for uid in uids:
                    try:
                        with _content(folder, uid) as data:
                            if as_json:
                                (facts,) = _table(place, folder, [uid]) or [{}]
                                found.append({**facts, **_details(data, what, path)})
                            else:
                                _show(place, folder, uid, data, what, path, shown > 0)
                            shown += 1
                    except NoSuchMessage:
                        continue
                    except LookupError as error:
                        system.fault(place.name, f"UID {uid} of {folder.name}: {error}", EX_DATAERR)
    if as_json:
        print_json(found)
    elif what is None and not path:
        _print(found)
    system.finish()


@contextmanager
def _content(folder: Folder, uid: int) -> Iterator[Data]:
    """Raises NoSuchMessage, OSError."""
    fd = folder.open(uid)
    try:
        size = os.fstat(fd).st_size
        if size <= _PIECE:
            yield os.pread(fd, size, 0)
        else:
            with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as data:
                yield data
    finally:
        os.close(fd)


# The table


def _table(place: Place, folder: Folder, uids: list[int]) -> list[dict[str, Any]]:
    folder.complete(uids)
    found = []
    for uid, flagset, internal, saved, size, modseq, emailid, threadid, preview, headers in folder.rows(_COLUMNS, uids):
        fields = _fields(headers or b"")
        found.append(
            {
                "account": place.name,
                "folder": folder.name,
                "uid": uid,
                "flags": list(folder.account.flagsets.flags(flagset)),
                "internaldate": internal,
                "savedate": saved,
                "size": size,
                "modseq": modseq,
                "date": fields.get("date", ""),
                "from": fields.get("from", ""),
                "to": fields.get("to", ""),
                "cc": fields.get("cc", ""),
                "subject": fields.get("subject", ""),
                "message_id": fields.get("message-id", ""),
                "emailid": emailid,
                "threadid": threadid,
                "preview": preview or "",
            }
        )
    return found


def _fields(header: bytes) -> dict[str, str]:
    """Decoded, the first of each name."""
    block = header.replace(b"\r\n", b"\n")
    found: dict[str, str] = {}
    for name, value in structure.scan_fields(block, 0, len(block)):
        found.setdefault(name.decode("ascii"), clean(text.decode_value(value)).strip())
    return found


def clean(value: str) -> str:
    """Nothing in it that a terminal would obey."""
    return value.translate(_CONTROL)


def _print(found: list[dict[str, Any]]) -> None:
    several = len({facts["account"] for facts in found}) > 1
    columns = ["FOLDER", "UID", "DATE", "FLAGS", "SIZE", "FROM", "SUBJECT"]
    rows = []
    for facts in found:
        flags = "".join(letter for flag, letter in _LETTERS.items() if flag in facts["flags"]) or "-"
        moment = time.strftime("%Y-%m-%d %H:%M", time.localtime(facts["internaldate"]))
        row = [clean(facts["folder"]), str(facts["uid"]), moment, flags, print_size(facts["size"])]
        row += [_cut(facts["from"], 40) or "-", _cut(facts["subject"], 80) or "-"]
        rows.append([facts["account"], *row] if several else row)
    print_rows(["ACCOUNT", *columns] if several else columns, rows)


def _cut(value: str, length: int) -> str:
    return value if len(value) <= length else value[: length - 1] + "…"


# One message


def _path(part: str) -> tuple[int, ...]:
    """Raises ValueError."""
    if not part:
        return ()
    numbers = part.split(".")
    if not all(number.isascii() and number.isdigit() and 0 < int(number) < 100_000 for number in numbers):
        raise ValueError(f'"{part}" is no part: write 1, or 2.1')
    return tuple(map(int, numbers))


def _find(root: Part, path: tuple[int, ...]) -> Part:
    """Raises LookupError."""
    found = find_part(root, path)
    if found is None:
        raise LookupError(f"there is no part {'.'.join(map(str, path))}")
    return found


def _decoded(data: Data, part: Part) -> Iterator[bytes]:
    """Line ends as they are in the message."""
    if part.encoding in (b"base64", b"quoted-printable"):
        try:
            for piece in decode_chunks(data, part.body_start, part.body_end, part.encoding):
                # Text that was not base64 comes with CRLF.
                yield piece.replace(b"\r\n", b"\n") if part.encoding == b"quoted-printable" else piece
            return
        except UnknownEncoding:
            pass
    for start in range(part.body_start, part.body_end, _PIECE):
        yield data[start : min(start + _PIECE, part.body_end)]


def _numbered(root: Part) -> Iterator[tuple[str, Part]]:
    """Leaves and messages within, with their numbers."""
    stack: list[tuple[str, Part]] = [("", root)]
    while stack:
        number, part = stack.pop()
        if part.is_multipart:
            prefix = f"{number}." if number else ""
            numbered = [(f"{prefix}{place}", child) for place, child in enumerate(part.children, 1)]
            stack.extend(reversed(numbered))
            continue
        yield number or "1", part
        if part.message is not None:
            inner = part.message
            stack.append((number or "1", inner) if inner.is_multipart else (f"{number or '1'}.1", inner))


def _describe(number: str, part: Part) -> dict[str, Any]:
    return {
        "part": number,
        "type": f"{part.type.decode('ascii', 'replace')}/{part.subtype.decode('ascii', 'replace')}",
        "encoding": part.encoding.decode("ascii", "replace"),
        "size": part.size,
        "filename": clean(part.filename() or ""),
    }


def _show(
    place: Place, folder: Folder, uid: int, data: Data, what: str | None, path: tuple[int, ...], more: bool
) -> None:
    """The bytes themselves to what is no terminal, text to one."""
    out = sys.stdout.buffer
    if what == "structure":
        if more:
            click.echo()
        click.echo(f"{place.name} {folder.name} {uid}")
        rows = [_describe(number, part) for number, part in _numbered(structure.parse(data))]
        print_rows(
            ("PART", "TYPE", "ENCODING", "SIZE", "FILENAME"), [[str(value) for value in row.values()] for row in rows]
        )
        return
    if what == "headers":
        pieces: Iterator[bytes] = iter((data[: structure.header_block(data)[0]], b"\n"))
    elif what == "message":
        pieces = (data[start : start + _PIECE] for start in range(0, len(data), _PIECE))
    else:
        pieces = _decoded(data, _find(structure.parse(data), path))
    sys.stdout.flush()
    for piece in pieces:
        if sys.stdout.isatty():
            shown = piece.decode("utf-8", "replace")
            click.echo("".join(letter for letter in shown if letter in "\n\t" or ord(letter) not in _CONTROL), nl=False)
        else:
            out.write(piece)
    out.flush()


def _details(data: Data, what: str | None, path: tuple[int, ...]) -> dict[str, Any]:
    if what == "headers":
        end = structure.header_block(data)[0]
        fields = structure.scan_fields(data, 0, end)
        return {"headers": [[name.decode("ascii"), text.decode_value(value).strip()] for name, value in fields]}
    root = structure.parse(data)
    if what == "structure":
        return {"parts": [_describe(number, part) for number, part in _numbered(root)]}
    if what == "message":
        if len(data) > _JSON_LIMIT:
            raise LookupError("it is too large for JSON: use --message without it")
        return _content_facts(bytes(data[:]), "")
    part = _find(root, path)
    content = b"".join(_decoded(data, part))
    name = part.parameter(b"charset") if part.type == b"text" else b""
    return {
        "part": ".".join(map(str, path)),
        "filename": part.filename() or "",
        **_content_facts(content, name.decode("ascii", "replace") if name is not None else "us-ascii"),
    }


def _content_facts(content: bytes, name: str) -> dict[str, Any]:
    """Text where it is, else base64."""
    if name:
        return {"content": charset.decode(content, name.lower())}
    try:
        return {"content": content.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}
