"""tubepost mailbox export: to mbox files, a Maildir or a zip archive."""

import json
import mmap
import os
import shutil
import time
import zipfile
from collections.abc import Sequence
from typing import IO, Any, NamedTuple, Protocol

import click
from tubepost.common.imap.search import All, Key

from tubepost.common.mail.crlf import crlf_chunks
from tubepost.common.mailbox.interface import Account
from tubepost.common.mailbox.store import NoSuchMessage

from tubepost.commands.accounts import fail, faults
from tubepost.commands.mailbox.maildir import MaildirWriter
from tubepost.commands.mailbox.mbox import SUFFIX, encode_path, write_message
from tubepost.commands.mailbox.places import FOLDERS, System, matching
from tubepost.commands.mailbox.query import HELP, find, parse

# Octets of a message that is put into the archive at once.
_PIECE = 1 << 20
# A zip knows no earlier and no later time.
_ZIP_FIRST, _ZIP_LAST = 315532800, 4354819199
# What the archive has of each message besides its content.
INDEX = "messages.json"


class Message(NamedTuple):
    uid: int
    flags: tuple[str, ...]
    internal: int
    size: int


class Writer(Protocol):
    """Messages are given folder by folder. Methods raise OSError."""

    def begin(self, folder: str) -> None: ...

    def add(self, fd: int, message: Message) -> None: ...

    def end(self) -> None: ...

    def finish(self, subscriptions: Sequence[str]) -> None: ...


class _Mbox:
    """A file for each folder: ``INBOX.mbox``, ``Work/Plans.mbox``."""

    def __init__(self, path: str) -> None:
        self._root = path
        os.makedirs(path, 0o700, exist_ok=True)
        self._file: IO[bytes] | None = None

    def begin(self, folder: str) -> None:
        path = os.path.join(self._root, encode_path(folder) + SUFFIX)
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(fd, "wb", buffering=_PIECE)

    def add(self, fd: int, message: Message) -> None:
        assert self._file is not None
        write_message(fd, message.flags, message.internal, self._file.write)

    def end(self) -> None:
        assert self._file is not None
        self._file.close()
        self._file = None

    def finish(self, subscriptions: Sequence[str]) -> None:
        pass


class _Maildir:
    def __init__(self, path: str) -> None:
        self._writer = MaildirWriter(path)

    def begin(self, folder: str) -> None:
        self._writer.begin(folder)

    def add(self, fd: int, message: Message) -> None:
        self._writer.add(fd, message.flags, message.internal)

    def end(self) -> None:
        self._writer.end()

    def finish(self, subscriptions: Sequence[str]) -> None:
        self._writer.finish(subscriptions)


class _Zip:
    """``Work/Plans/17.eml`` is the message with that UID, with CRLF line ends; flags and dates stand in INDEX."""

    def __init__(self, path: str) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(fd, "w+b")
        self._archive = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED)
        self._folder = ""
        self._index: list[dict[str, Any]] = []

    def begin(self, folder: str) -> None:
        self._folder = folder
        # An empty folder is a folder too.
        self._archive.writestr(zipfile.ZipInfo(encode_path(folder) + "/"), b"")

    def add(self, fd: int, message: Message) -> None:
        name = f"{encode_path(self._folder)}/{message.uid}.eml"
        moment = time.localtime(min(max(message.internal, _ZIP_FIRST + 86400), _ZIP_LAST - 86400))
        info = zipfile.ZipInfo(name, moment[:6])
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o600 << 16
        with self._archive.open(info, "w", force_zip64=message.size > 1 << 31) as target:
            size = os.fstat(fd).st_size
            if size:
                with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as data:
                    for piece in crlf_chunks(data, 0, size):
                        target.write(piece)
        self._index.append(
            {
                "file": name,
                "folder": self._folder,
                "uid": message.uid,
                "flags": list(message.flags),
                "internaldate": message.internal,
            }
        )

    def end(self) -> None:
        pass

    def finish(self, subscriptions: Sequence[str]) -> None:
        self._archive.writestr(INDEX, json.dumps(self._index, ensure_ascii=False, indent=1))
        self._archive.close()
        self._file.close()


_WRITERS: dict[str, type[_Mbox | _Maildir | _Zip]] = {"mbox": _Mbox, "maildir": _Maildir, "zip": _Zip}


@click.command(epilog=HELP)
@click.argument("account", metavar="ACCOUNT")
@click.argument("target", metavar="TARGET", type=click.Path())
@click.argument("query", nargs=-1, metavar="[QUERY...]")
@FOLDERS
@click.option("--format", "kind", type=click.Choice(tuple(_WRITERS)), default=None, help="[default: by the name]")
@click.pass_obj
def export(
    directory: str, account: str, target: str, query: tuple[str, ...], folders: tuple[str, ...], kind: str | None
) -> None:
    """Write the mail of accounts, or what matches QUERY, to TARGET.

    mbox: a directory with a file for each folder. maildir: a Maildir++ as any program reads it. zip: an archive, with
    flags and dates in messages.json. ACCOUNT may be a glob: TARGET is then a directory, with one of these for each
    account. tubepost mailbox import reads the first two again.
    """
    with faults():
        key: Key = parse(query) if query else All()
    system = System(directory)
    kind = kind or ("zip" if target.endswith(".zip") else "mbox")
    several = any(letter in account for letter in "*?[")
    for place, opened in system.accounts([account]):
        path = os.path.join(target, place.name.strip("/") + (".zip" if kind == "zip" else "")) if several else target
        if os.path.exists(path):
            fail(f"{path} exists already: an export is not mixed with what is there")
        if several:
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        with system.guard(place):
            done = False
            try:
                count = _export(opened, _WRITERS[kind](path), folders, key)
                done = True
            finally:
                if not done:
                    # Half an export is none.
                    if os.path.isdir(path):
                        shutil.rmtree(path, ignore_errors=True)
                    elif os.path.exists(path):
                        os.unlink(path)
            click.echo(f"{place.name}: {count} messages written to {path}")
    system.finish()


def _export(account: Account, writer: Writer, folders: Sequence[str], key: Key) -> int:
    count = 0
    for info in matching(account, folders):
        folder = account.folder(info.name)
        uids = find(folder, key)
        writer.begin(info.name)
        for uid, flagset, internal, size in folder.rows(("uid", "flagset", "internal", "size"), uids):
            try:
                fd = folder.open(uid)
            except NoSuchMessage:
                continue
            try:
                writer.add(fd, Message(uid, account.flagsets.flags(flagset), internal, size))
            finally:
                os.close(fd)
            count += 1
        writer.end()
    writer.finish(account.subscriptions())
    return count
