"""Changes that other programs make to the files of selected mailboxes (inotify)."""

import asyncio
from collections.abc import Callable

from tubepost.common.system import log
from tubepost.common.system.inotify import Inotify

Key = tuple[str, int]


class Watch:
    """``changed`` is called with the key of a folder, soon and once for many changes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, changed: Callable[[Key], None]) -> None:
        self._loop = loop
        self._changed = changed
        self._keys: dict[int, Key] = {}
        self._watches: dict[tuple[str, ...], list[int]] = {}
        self._complained = False
        try:
            self._inotify: Inotify | None = Inotify()
        except OSError as error:
            # Still noticed with the next command.
            log.debug(f"inotify: {error.strerror}: changes by other programs do not wake IDLE")
            self._inotify = None
            return
        loop.add_reader(self._inotify.fileno(), self._read)

    def add(self, directories: tuple[str, ...], key: Key) -> None:
        """``Folder.watched`` of a folder."""
        if self._inotify is None:
            return
        found = []
        for directory in directories:
            try:
                number = self._inotify.watch(directory)
            except OSError as error:
                if not self._complained:
                    self._complained = True
                    log.warning(f"inotify: {error.strerror}: changes by other programs do not wake every IDLE")
                continue
            self._keys[number] = key
            found.append(number)
        self._watches[directories] = found

    def remove(self, directories: tuple[str, ...]) -> None:
        for number in self._watches.pop(directories, ()):
            self._keys.pop(number, None)
            if self._inotify is not None:
                self._inotify.forget(number)

    def _read(self) -> None:
        assert self._inotify is not None
        for key in {self._keys[number] for number in self._inotify.events() if number in self._keys}:
            self._changed(key)

    def close(self) -> None:
        if self._inotify is not None:
            self._loop.remove_reader(self._inotify.fileno())
            self._inotify.close()
