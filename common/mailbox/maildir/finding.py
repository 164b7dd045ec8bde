"""Messages of some rows of the index, wherever their files are now."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from tubepost.common.mail.crlf import Data
from tubepost.common.mailbox.maildir import scan
from tubepost.common.mailbox.maildir.reading import read_with

if TYPE_CHECKING:
    from tubepost.common.mailbox.maildir.folder import Folder

R = TypeVar("R")


class Finder:
    """Reads also what another program has given another name since: who is asked what is in a mailbox must not leave it
    out for that. One for each batch: it looks at the directories once."""

    def __init__(self, folder: "Folder") -> None:
        self._folder = folder
        self._looked = False

    def read(self, content: int, path: str, function: Callable[[Data], R]) -> R | None:
        """As ``read_with``, after that found nothing at this path. Raises NoSuchFolder, OSError, sqlite3.Error."""
        for _ in range(3):
            if os.path.lexists(path):
                # It is there and cannot be read.
                break
            now = self._path(content)
            if now == path and not self._looked:
                self._looked = True
                scan.sync(self._folder, force=True)
                now = self._path(content)
            if now in ("", path):
                break
            path = now
            found = read_with(path, function)
            if found is not None:
                return found
        return None

    def _path(self, content: int) -> str:
        """Where the index has it; "" when it is gone."""
        row = self._folder.database.one(
            "SELECT place, file, info FROM message WHERE folder=? AND content=? LIMIT 1", self._folder.id, content
        )
        return "" if row is None else self._folder.file(*row)
