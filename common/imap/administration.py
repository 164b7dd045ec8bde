"""The arguments of METADATA, QUOTA, ACL, COMPRESS, URLAUTH and CONTEXT commands. Pure, and as ``arguments``."""

from typing import NamedTuple

from tubepost.common.imap.arguments import metadata_entries
from tubepost.common.imap.errors import BadCommand
from tubepost.common.imap.parse import Scanner


class GetMetadata(NamedTuple):
    """GETMETADATA (RFC 5464 4.2): ``mailbox`` is "" for the server; ``depth`` 0, 1 or -1 (infinity)."""

    mailbox: str
    entries: tuple[str, ...]
    max_size: int | None = None
    depth: int = 0


def get_metadata(scanner: Scanner) -> GetMetadata:
    """GETMETADATA; its options stand before the mailbox in the grammar and behind it in the examples of RFC 5464."""
    options: tuple[int | None, int] = (None, 0)
    given = scanner.skip(b"(")
    if given:
        options = _metadata_options(scanner)
        scanner.space()
    name = scanner.mailbox()
    scanner.space()
    if not given and scanner.peek() == b"(" and scanner.data[scanner.place + 1 : scanner.place + 2] not in b'/"{':
        scanner.skip(b"(")
        options = _metadata_options(scanner)
        scanner.space()
    entries = metadata_entries(scanner, above=options[1] != 0)
    scanner.end()
    return GetMetadata(name, entries, *options)


def _metadata_options(scanner: Scanner) -> tuple[int | None, int]:
    max_size = None
    depth = 0
    while True:
        word = scanner.keyword()
        scanner.space()
        if word == b"MAXSIZE":
            max_size = scanner.number()
        elif word == b"DEPTH":
            if scanner.word(b"INFINITY"):
                depth = -1
            else:
                depth = scanner.number(1)
        else:
            raise BadCommand("Unknown GETMETADATA option")
        if not scanner.skip(b" "):
            break
    scanner.expect(b")")
    return max_size, depth


def set_metadata(scanner: Scanner) -> tuple[str, tuple[tuple[str, bytes | None], ...]]:
    """SETMETADATA (RFC 5464 4.3): the mailbox ("" for the server) and (entry, value); None removes the entry."""
    name = scanner.mailbox()
    scanner.expect(b" (")
    found: dict[str, bytes | None] = {}
    while True:
        entry = scanner.entry()
        scanner.space()
        found[entry] = None if scanner.word(b"NIL") else scanner.literal8()
        if not scanner.skip(b" "):
            break
    scanner.expect(b")")
    scanner.end()
    return name, tuple(found.items())


def quota_root(scanner: Scanner) -> str:
    """GETQUOTA: a quota root's name."""
    name = scanner.text()
    scanner.end()
    return name


def set_quota(scanner: Scanner) -> tuple[str, dict[bytes, int]]:
    """SETQUOTA (RFC 9208 4.1.3): root and {resource in upper case: limit}."""
    name = scanner.text()
    scanner.expect(b" (")
    limits: dict[bytes, int] = {}
    if not scanner.skip(b")"):
        while True:
            resource = scanner.keyword()
            scanner.space()
            limits[resource] = scanner.number64()
            if not scanner.skip(b" "):
                break
        scanner.expect(b")")
    scanner.end()
    return name, limits


# RFC 4314 2.1, with the obsolete c and d of RFC 2086 (2.1.1).
_RIGHTS = frozenset("lrswipkxteacdn0123456789")


class SetAcl(NamedTuple):
    """SETACL (RFC 4314 3.1): ``mode`` is ``=``, ``+`` or ``-``."""

    mailbox: str
    identifier: str
    mode: str
    rights: str


def set_acl(scanner: Scanner) -> SetAcl:
    """SETACL. Rights that do not exist are BAD (RFC 4314 3.1)."""
    name = scanner.mailbox()
    scanner.space()
    identifier = scanner.text()
    scanner.space()
    rights = scanner.text()
    scanner.end()
    mode = "="
    if rights[:1] in ("+", "-"):
        mode, rights = rights[0], rights[1:]
    if not _RIGHTS.issuperset(rights):
        raise BadCommand("Unknown right")
    return SetAcl(name, identifier, mode, rights)


def mailbox_and_identifier(scanner: Scanner) -> tuple[str, str]:
    """DELETEACL, LISTRIGHTS: mailbox and identifier."""
    name = scanner.mailbox()
    scanner.space()
    identifier = scanner.text()
    scanner.end()
    return name, identifier


def compress(scanner: Scanner) -> bytes:
    """COMPRESS: the algorithm in upper case (RFC 4978)."""
    algorithm = scanner.keyword()
    scanner.end()
    return algorithm


class UrlFetch(NamedTuple):
    """One URL of URLFETCH; ``wanted`` of BODY, BINARY, BODYPARTSTRUCTURE, empty in the form of RFC 4467."""

    url: bytes
    wanted: tuple[bytes, ...] = ()


_URL_ITEMS = frozenset((b"BODY", b"BINARY", b"BODYPARTSTRUCTURE"))


def urls(scanner: Scanner) -> tuple[UrlFetch, ...]:
    """URLFETCH (RFC 4467 6, RFC 5524 3): the URLs."""
    found = [_url_fetch(scanner)]
    while scanner.skip(b" ") and not scanner.at_end:
        found.append(_url_fetch(scanner))
    scanner.end()
    return tuple(found)


def _url_fetch(scanner: Scanner) -> UrlFetch:
    if not scanner.skip(b"("):
        return UrlFetch(scanner.astring())
    url = scanner.astring()
    wanted = []
    while scanner.skip(b" "):
        wanted.append(scanner.keyword())
    scanner.expect(b")")
    if not _URL_ITEMS.issuperset(wanted) or {b"BODY", b"BINARY"}.issubset(wanted):
        # RFC 5524 3: BODY and BINARY exclude each other.
        raise BadCommand("URLFETCH takes BODYPARTSTRUCTURE, and one of BODY and BINARY")
    return UrlFetch(url, tuple(dict.fromkeys(wanted)))


def generate_urls(scanner: Scanner) -> tuple[tuple[bytes, bytes], ...]:
    """GENURLAUTH (RFC 4467 6): (URL, mechanism in upper case)."""
    found = []
    while True:
        url = scanner.astring()
        scanner.space()
        found.append((url, scanner.keyword()))
        if not scanner.skip(b" ") or scanner.at_end:
            break
    scanner.end()
    return tuple(found)


def reset_key(scanner: Scanner) -> tuple[str | None, tuple[bytes, ...]]:
    """RESETKEY (RFC 4467 6): the mailbox, or None for all, and mechanisms."""
    if scanner.at_end:
        return None, ()
    name = scanner.mailbox()
    mechanisms = []
    while scanner.skip(b" ") and not scanner.at_end:
        mechanisms.append(scanner.keyword())
    scanner.end()
    return name, tuple(mechanisms)


def cancel_update(scanner: Scanner) -> tuple[bytes, ...]:
    """CANCELUPDATE (RFC 5267 4.4): the tags, each in quotes."""
    found = [scanner.string()]
    while scanner.skip(b" ") and not scanner.at_end:
        found.append(scanner.string())
    scanner.end()
    return tuple(found)
