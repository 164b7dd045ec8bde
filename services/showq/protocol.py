"""How entries are gathered for the way: the first at once, then more and more together. Pure."""

from tubepost.common.wire.showq import Entry

# Entries, and recipients, that go in one frame at most: about 64 KiB.
_MOST, _RECIPIENTS = 128, 400


class Gathering:
    """``add`` each entry; when it gives a list, that is due to be sent. ``rest`` at the end."""

    def __init__(self) -> None:
        self._held: list[Entry] = []
        self._recipients = 0
        self._portion = 1

    def add(self, entry: Entry) -> list[Entry] | None:
        self._held.append(entry)
        self._recipients += len(entry.recipients)
        if len(self._held) < self._portion and self._recipients < _RECIPIENTS:
            return None
        self._portion = min(self._portion * 2, _MOST)
        return self.rest()

    def rest(self) -> list[Entry]:
        due, self._held = self._held, []
        self._recipients = 0
        return due
