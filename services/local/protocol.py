"""What local knows of a recipient while it expands it, and how outcomes add up. Pure."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from tubepost.common.mail import address
from tubepost.common.wire.delivery import RecipientStatus
from tubepost.common.wire.envelope import Notify, Recipient
from tubepost.common.config.expand import expand

LEVELS = 100
"""The deepest nesting of aliases, forward files and :include: files."""


@dataclass(frozen=True, slots=True)
class Rights:
    """Whose a delivery to a file or command is. uid 0: nobody's in particular, default_privs are used."""

    uid: int = 0
    gid: int = 0
    name: str = ""
    home: str = ""
    shell: str = ""


NOBODY = Rights()


def unprivileged(rights: Rights, default: Rights) -> Rights:
    """Whose rights a command or file gets: ``default`` (default_privs) stands in for root, as user and as group."""
    if rights.uid == 0:
        return default
    return replace(rights, gid=default.gid) if rights.gid == 0 else rights


@dataclass(frozen=True, slots=True)
class Attributes:
    """Of one recipient on its way down. Frozen: a branch never changes what another sees.

    ``delivered``: for Delivered-To:. ``owner``: the list or user that expanded it, or empty. ``unmatched``: the
    extension that goes on to what it expands to. ``kind``: of the expansion that led here; ``source``: its name.
    """

    recipient: Recipient
    sender: str
    envid: str
    ret: str
    rights: Rights = NOBODY
    level: int = 0
    domain: str = ""
    local: str = ""
    user: str = ""
    extension: str = ""
    delimiter: str = ""
    unmatched: str = ""
    owner: str = ""
    delivered: str = ""
    kind: str = ""
    source: str = ""


class Seen:
    """Destinations of one recipient that were served already; at most ``limit`` (0: any number) are remembered."""

    __slots__ = ("_limit", "_seen", "dropped")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.dropped = False
        """Something was here before."""
        self._seen: set[str] = set()

    def __contains__(self, what: str) -> bool:
        return what in self._seen

    def again(self, what: str, *, fold: bool = True) -> bool:
        """True when it was here before; from now on it was. ``fold`` False: /Box and /box are two."""
        key = what.casefold() if fold else what
        if key in self._seen:
            self.dropped = True
            return True
        if not self._limit or len(self._seen) < self._limit:
            self._seen.add(key)
        return False


def split_recipient(recipient: str, delimiter: str) -> tuple[str, str, str, str, str]:
    """(local, domain, user, extension, the delimiter between the two); internal form, in lower case.

    An extension with a slash could name a file of another: it is dropped.
    """
    local, domain = address.split(recipient)
    local = address.unquote_local(local).casefold()
    user, extension = address.strip_extension(local, delimiter)
    if extension is not None and "/" in extension:
        return user, (domain or "").casefold(), user, "", ""
    used = local[len(user)] if extension is not None else ""
    return local, (domain or "").casefold(), user, extension or "", used


def without_success(notify: tuple[Notify, ...]) -> tuple[Notify, ...]:
    """RFC 3461 5.2.7.1: who sent to an alias is told of success once, not by each of its destinations."""
    if not notify:
        return notify
    return tuple(word for word in notify if word != "SUCCESS") or ("NEVER",)


def variables(attributes: Attributes, delimiter: str) -> dict[str, str]:
    """What ``$name`` stands for in forward_path, luser_relay and command_execution_directory. Missing: undefined."""
    values = {
        "user": attributes.user,
        "home": attributes.rights.home,
        "shell": attributes.rights.shell,
        "domain": attributes.domain,
        "local": attributes.local,
        "mailbox": attributes.local,
        "recipient": attributes.recipient.address,
        "extension": attributes.extension,
        "recipient_delimiter": attributes.delimiter or delimiter[:1],
    }
    return {name: value for name, value in values.items() if value}


class Filled(NamedTuple):
    """``undefined``: a name was used that stands for nothing here. ``extended``: the address extension was used."""

    text: str
    undefined: bool
    extended: bool


def fill(pattern: str, values: Mapping[str, str], allowed: str = "") -> Filled:
    """``$name`` and its relatives (``common.config.expand``) by ``values``. Raises ExpandError.

    ``allowed``: the characters that survive in values, all others become ``_``; empty: all survive.
    """
    clean = censor(allowed) if allowed else str

    def mark(match: re.Match[str]) -> str:
        name = match[1] or match[2] or match[3]
        if not name:
            return match[0]
        # Only a plain use counts, not being asked for in ${name?…}: the marks show which branch was taken.
        if name not in values:
            return _UNDEFINED
        return f"{_EXTENDED}{match[0]}" if name == "extension" else match[0]

    def look_up(name: str) -> str | None:
        value = values.get(name)
        return None if value is None else clean(value)

    text = expand(_USE.sub(mark, pattern), look_up)
    return Filled(text.replace(_UNDEFINED, "").replace(_EXTENDED, ""), _UNDEFINED in text, _EXTENDED in text)


_UNDEFINED, _EXTENDED = "\x00", "\x01"
_USE = re.compile(r"\$\$|\$(?:\{(\w+)\}|\((\w+)\)|(\w+))", re.ASCII)


def censor(allowed: str) -> Callable[[str], str]:
    """A function that puts ``_`` in the place of all characters but these (…_expansion_filter)."""
    pattern = re.compile(f"[^{re.escape(allowed)}]")
    return lambda text: pattern.sub("_", text)


def combine(offset: int, statuses: list[RecipientStatus], expanded: str) -> RecipientStatus:
    """The one status of a recipient: what must wait keeps it in the queue, else failure is told before success.

    ``expanded``: ``expanded`` for an alias, ``sent`` for a list with an owner, empty when it was neither.
    """
    for kind in ("deferred", "bounced"):
        chosen = [status for status in statuses if status.status == kind]
        if len(chosen) > 1:
            texts = dict.fromkeys(status.text for status in chosen)
            return chosen[0].model_copy(update={"offset": offset, "text": "; ".join(texts)[:2000]})
        if chosen:
            return chosen[0].model_copy(update={"offset": offset})
    if expanded and statuses:
        kept = statuses[0].status if statuses[0].status == "deliverable" else expanded
        return RecipientStatus(offset=offset, status=kept, dsn="2.0.0", text="alias expanded", relay="local")  # type: ignore[arg-type]
    if not statuses:
        return RecipientStatus(offset=offset, status="sent", dsn="2.0.0", text="nothing to deliver", relay="local")
    undeliverable = [status for status in statuses if status.status == "undeliverable"]
    return (undeliverable or statuses)[0].model_copy(update={"offset": offset})
