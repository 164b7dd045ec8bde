"""A Maildir++ of another program as a source of mail, and one to be written (no index, as any program reads it)."""

import os
import re
from collections.abc import Callable, Iterator, Sequence

from tubepost.common.system import log
from tubepost.common.system.atomic import write_file
from tubepost.common.mailbox.interface import Draft
from tubepost.common.mailbox.maildir.delivery import make_maildir, unique_name
from tubepost.common.mailbox.maildir.migration import read_keywords, read_subscriptions
from tubepost.common.mailbox.maildir.names import (
    KEYWORD_LETTERS,
    directory_of,
    flags_of,
    folder_of,
    info_of,
    split_file,
)
from tubepost.common.mailbox.maildir.scan import measure

from tubepost.commands.mailbox.intake import Item, SourceFolder, message_id_at, open_source, write_from

_DIGITS = re.compile(r"([0-9]{1,18})")


def is_maildir(path: str) -> bool:
    return os.path.isdir(os.path.join(path, "cur"))


class MaildirSource:
    """Nothing is changed in it. Raises OSError."""

    def __init__(self, root: str) -> None:
        self._root = root.rstrip("/") or "/"
        self._owner = os.lstat(self._root).st_uid
        self._paths: dict[int, str] = {}

    def close(self) -> None:
        pass

    def folders(self) -> list[SourceFolder]:
        found = [SourceFolder("INBOX", b"")]
        for entry in sorted(os.scandir(self._root), key=lambda entry: entry.name):
            name = folder_of(entry.name)
            if name is not None and is_maildir(entry.path):
                found.append(SourceFolder(name, entry.name.encode("utf-8", "surrogateescape")))
        return found

    def subscriptions(self) -> list[str]:
        return read_subscriptions(self._root)

    def _directory(self, folder: SourceFolder) -> str:
        return os.path.join(self._root, folder.raw.decode("utf-8", "surrogateescape")).rstrip("/")

    def items(self, folder: SourceFolder) -> list[Item]:
        directory = self._directory(folder)
        letters = read_keywords(directory)
        self._paths = {}
        names = []
        for place in ("cur", "new"):
            try:
                listed = os.listdir(f"{directory}/{place}")
            except FileNotFoundError:
                continue
            names += [(name, f"{directory}/{place}/{name}") for name in listed if not name.startswith(".")]
        # In the order of delivery, which is that of the names.
        names.sort(key=lambda pair: _order(pair[0]))
        found = []
        for number, (name, path) in enumerate(names):
            measured = measure(path)
            if measured is None:
                continue
            try:
                with _Opened(path, self._owner) as fd:
                    message_id = message_id_at(fd)
            except FileNotFoundError:
                continue
            except PermissionError as error:
                log.warning(f"{path}: left out: {error.strerror}")
                continue
            self._paths[number] = path
            found.append(Item(number, message_id, *measured, tuple(flags_of(split_file(name)[1], letters))))
        return found

    def fetch(
        self, folder: SourceFolder, items: Sequence[Item], make: Callable[[], Draft]
    ) -> Iterator[tuple[Item, Draft]]:
        """``folder``: the one whose ``items`` were asked for last."""
        for item in items:
            try:
                opened = _Opened(self._paths[item.handle], self._owner)
            except FileNotFoundError:
                continue
            with opened as fd:
                draft = make()
                try:
                    write_from(fd, draft)
                except BaseException:
                    draft.discard()
                    raise
            yield item, draft


class _Opened:
    def __init__(self, path: str, owner: int) -> None:
        self._fd = open_source(path, owner)

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _order(name: str) -> list[tuple[int, str]]:
    """By the numbers in it: the time, its fraction, the process, its count of deliveries."""
    return [(int(piece), "") if piece.isdigit() and piece.isascii() else (-1, piece) for piece in _DIGITS.split(name)]


class MaildirWriter:
    """A new Maildir++. Raises OSError."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._folder = ""
        self._letters: dict[str, str] = {}
        make_maildir(root)

    def begin(self, folder: str) -> None:
        directory = directory_of(folder)
        self._folder = f"{self._root}/{directory}" if directory else self._root
        self._letters = {}
        if directory:
            make_maildir(self._folder)
            os.close(os.open(f"{self._folder}/maildirfolder", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))

    def add(self, fd: int, flags: Sequence[str], internal: int) -> None:
        for flag in flags:
            if flag.startswith("\\") or flag == "$Forwarded" or len(self._letters) == len(KEYWORD_LETTERS):
                continue
            self._letters.setdefault(flag, KEYWORD_LETTERS[len(self._letters)])
        name = unique_name(internal)
        temporary = f"{self._folder}/tmp/{name}"
        target = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            place = 0
            while data := os.pread(fd, 1 << 20, place):
                place += os.write(target, data)
            os.utime(target, (internal, internal))
        finally:
            os.close(target)
        os.rename(temporary, f"{self._folder}/cur/{name}{info_of(flags, self._letters)}")

    def end(self) -> None:
        """The folder is complete."""
        if self._letters:
            lines = [f"{KEYWORD_LETTERS.index(letter)} {name}\n" for name, letter in self._letters.items()]
            write_file(f"{self._folder}/dovecot-keywords", "".join(lines).encode(), 0o600)

    def finish(self, subscriptions: Sequence[str]) -> None:
        # Dovecot's form 2: levels parted by tabs, names as they are on disk.
        lines = []
        for name in subscriptions:
            directory = directory_of(name)
            lines.append(directory[1:].replace(".", "\t") if directory else "INBOX")
        write_file(f"{self._root}/subscriptions", ("V\t2\n\n" + "".join(f"{line}\n" for line in lines)).encode(), 0o600)
