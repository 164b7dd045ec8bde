"""The messages of one session: numbers, sizes, unique ids, and which are marked to be deleted. Pure.

RFC 1939 3 and 5: numbers and sizes stay what they were when the session began, whatever happens to the mailbox.
"""

import re
from array import array
from collections.abc import Callable, Iterable, Iterator

_FIELD = re.compile(r"%(?:(0?)([1-9][0-9]?))?(X?)([uv%])")
# RFC 1939 7: one to 70 characters from 0x21 to 0x7E.
_LONGEST = 70


def uidl_format(text: str) -> Callable[[int, int], str]:
    """A function of UID and UIDVALIDITY, of a format as Dovecot's pop3_uidl_format: ``%08Xu%08Xv``.

    ``%u``: the UID, ``%v``: UIDVALIDITY; before the letter ``X`` for hexadecimal, before that a width, with 0 for
    zeros. Raises ValueError with the reason.
    """
    if "u" not in {found[4] for found in _FIELD.finditer(text)}:
        raise ValueError("the UID (%u) must be in it, or ids would not be unique")
    rest = _FIELD.sub("", text)
    if "%" in rest:
        raise ValueError("% is followed by what is no field: u, v or %, with a width and X before it")
    if not all("!" <= character <= "~" for character in rest):
        raise ValueError("only printable ASCII characters without space can be in it")
    template = _FIELD.sub(_python_field, text.replace("{", "{{").replace("}", "}}"))
    make = template.format

    def form(uid: int, uidvalidity: int) -> str:
        return make(u=uid, v=uidvalidity)

    if " " in form(1, 1):
        raise ValueError("a width needs a 0 before it, since ids can have no spaces")
    if len(form(0xFFFFFFFF, 0xFFFFFFFF)) > _LONGEST:
        raise ValueError(f"ids would be longer than {_LONGEST} characters")
    return form


def _python_field(found: re.Match[str]) -> str:
    zero, width, hexadecimal, letter = found.groups()
    if letter == "%":
        return "%"
    return f"{{{letter}:{zero or ''}{width or ''}{'x' if hexadecimal else 'd'}}}"


class Maildrop:
    """``uids`` ascending, ``sizes`` beside them in octets, with CRLF line ends. Indexes begin at 0, numbers at 1."""

    __slots__ = ("_form", "deleted", "origin", "retrieved", "sizes", "total", "uids", "uidvalidity")

    def __init__(
        self,
        uids: Iterable[int],
        sizes: Iterable[int],
        uidvalidity: int,
        form: Callable[[int, int], str],
        origin: str = "",
    ) -> None:
        self.uids = array("I", uids)
        self.sizes = array("Q", sizes)
        self.uidvalidity = uidvalidity
        self.origin = origin
        """Id of the folder that the UIDs are of; an index that was lost is made with another."""
        self._form = form
        self.total = sum(self.sizes)
        """Octets of the messages that are not marked."""
        self.deleted: set[int] = set()
        self.retrieved: set[int] = set()
        """Those of which the whole was sent."""

    def __len__(self) -> int:
        return len(self.uids)

    @property
    def count(self) -> int:
        """Messages that are not marked."""
        return len(self.uids) - len(self.deleted)

    def uidl(self, index: int) -> str:
        """RFC 1939 7: never the id of another message of this maildrop, also in later sessions."""
        return self._form(self.uids[index], self.uidvalidity)

    def delete(self, index: int) -> None:
        """Mark. ``index``: not marked yet."""
        self.deleted.add(index)
        self.total -= self.sizes[index]

    def reset(self) -> None:
        """RFC 1939 5: nothing is marked any more."""
        self.deleted.clear()
        self.total = sum(self.sizes)

    def present(self) -> Iterator[int]:
        """Indexes of the messages that are not marked."""
        deleted = self.deleted
        indexes = range(len(self.uids))
        return (index for index in indexes if index not in deleted) if deleted else iter(indexes)

    def marked(self) -> list[int]:
        """UIDs of those that are marked, ascending."""
        return [self.uids[index] for index in sorted(self.deleted)]
