"""The arguments of the commands, one function a command (RFC 9051 6 and the extensions). Pure.

Each takes a Scanner at the start of the arguments, reads to their end and gives a small value. APPEND and REPLACE stand
in ``append``, metadata, quota, rights and URLs in ``administration``, FETCH in ``fetch``, SEARCH, SORT and THREAD in
``search``, NOTIFY and ESEARCH in ``notification``. All raise BadCommand only.
"""

import binascii
from typing import NamedTuple

from tubepost.common.imap.errors import BadCommand
from tubepost.common.imap.parse import NUMBER64_LIMIT, Scanner
from tubepost.common.imap.sets import SequenceSet

ID_PAIRS_LIMIT = 30
"""RFC 2971 3.3: at most 30 field-value pairs."""
STATUS_ITEMS = frozenset(
    (b"MESSAGES", b"RECENT", b"UIDNEXT", b"UIDVALIDITY", b"UNSEEN", b"DELETED", b"SIZE", b"HIGHESTMODSEQ",
     b"APPENDLIMIT", b"MAILBOXID", b"DELETED-STORAGE")
)  # fmt: skip


def nothing(scanner: Scanner) -> None:
    """CAPABILITY, NOOP, LOGOUT, CHECK, CLOSE and all others that take no arguments."""
    scanner.end()


def mailbox(scanner: Scanner) -> str:
    """DELETE, SUBSCRIBE, UNSUBSCRIBE, GETACL, MYRIGHTS, GETQUOTAROOT: one mailbox name."""
    name = scanner.mailbox()
    scanner.end()
    return name


def two_mailboxes(scanner: Scanner) -> tuple[str, str]:
    """RENAME: from, to."""
    first = scanner.mailbox()
    if scanner.peek() != b" ":
        scanner.fail("a second mailbox name")
    scanner.space()
    return first, mailbox(scanner)


def login(scanner: Scanner) -> tuple[str, str]:
    """LOGIN: user name and password (RFC 9051 6.2.3)."""
    user = scanner.text()
    scanner.space()
    password = scanner.text()
    scanner.end()
    return user, password


class Authenticate(NamedTuple):
    """AUTHENTICATE: the mechanism in upper case; ``initial`` the decoded first answer (RFC 4959), None where absent."""

    mechanism: str
    initial: bytes | None


def authenticate(scanner: Scanner) -> Authenticate:
    """AUTHENTICATE (RFC 9051 6.2.2); ``=`` stands for an empty initial response."""
    mechanism = scanner.keyword().decode("ascii")
    initial = None
    if scanner.skip(b" ") and not scanner.at_end:
        initial = sasl_line(scanner.data[scanner.place :], initial=True)
    return Authenticate(mechanism, initial)


def sasl_line(line: bytes, *, initial: bool = False) -> bytes | None:
    """The client's answer to a challenge, decoded; None for ``*``, which cancels. Raises BadCommand."""
    if initial:
        if line == b"=":
            return b""
    elif line == b"*":
        return None
    try:
        return binascii.a2b_base64(line, strict_mode=True)
    except ValueError:
        raise BadCommand("Not base64") from None


def enable(scanner: Scanner) -> tuple[bytes, ...]:
    """ENABLE: capability names in upper case (RFC 9051 6.3.1)."""
    found = [scanner.keyword()]
    while scanner.skip(b" ") and not scanner.at_end:
        found.append(scanner.keyword())
    scanner.end()
    return tuple(dict.fromkeys(found))


def identity(scanner: Scanner) -> dict[str, str | None]:
    """ID: the client's fields, names in lower case (RFC 2971)."""
    found: dict[str, str | None] = {}
    if scanner.word(b"NIL"):
        scanner.end()
        return found
    scanner.expect(b"(")
    if not scanner.skip(b")"):
        while True:
            name = scanner.string()
            scanner.space()
            value = scanner.nstring()
            # RFC 2971 3.3: 30 octets of a name, 1024 of a value.
            if len(found) >= ID_PAIRS_LIMIT or len(name) > 30 or (value is not None and len(value) > 1024):
                raise BadCommand("An ID list is longer than RFC 2971 allows")
            found[name.decode("utf-8", "replace").lower()] = None if value is None else value.decode("utf-8", "replace")
            if not scanner.skip(b" "):
                break
        scanner.expect(b")")
    scanner.end()
    return found


class Select(NamedTuple):
    """SELECT or EXAMINE with the parameters of RFC 7162; ``resync`` is None without QRESYNC."""

    mailbox: str
    condstore: bool = False
    resync: "Resync | None" = None


class Resync(NamedTuple):
    """QRESYNC: what the client knew. ``matching`` pairs message sequence numbers with their UIDs."""

    uid_validity: int
    modseq: int
    known: SequenceSet | None = None
    matching: tuple[SequenceSet, SequenceSet] | None = None


def select(scanner: Scanner) -> Select:
    """SELECT, EXAMINE."""
    name = scanner.mailbox()
    condstore = False
    resync = None
    if scanner.skip(b" ("):
        while True:
            word = scanner.keyword()
            if word == b"CONDSTORE" and not condstore:
                condstore = True
            elif word == b"QRESYNC" and resync is None:
                scanner.space()
                resync = _resync(scanner)
            else:
                raise BadCommand("Unknown or repeated SELECT parameter")
            if not scanner.skip(b" "):
                break
        scanner.expect(b")")
    scanner.end()
    return Select(name, condstore, resync)


def _resync(scanner: Scanner) -> Resync:
    # RFC 7162 7: "QRESYNC" SP "(" uidvalidity SP mod-sequence-value [SP known-uids] [SP seq-match-data] ")".
    scanner.expect(b"(")
    validity = scanner.nz_number()
    scanner.space()
    modseq = scanner.nz_number(NUMBER64_LIMIT)
    known = None
    matching = None
    if scanner.skip(b" "):
        if scanner.peek() != b"(":
            known = scanner.plain_set()
        if known is None or scanner.skip(b" "):
            scanner.expect(b"(")
            numbers = scanner.plain_set()
            scanner.space()
            uids = scanner.plain_set()
            scanner.expect(b")")
            if not (numbers.is_ascending and uids.is_ascending):
                # RFC 7162 7: known-sequence-set and known-uid-set are in ascending order. So each number is met once.
                raise BadCommand("The sets of QRESYNC's match data are not in ascending order")
            if numbers.size() != uids.size():
                raise BadCommand("The two sets of QRESYNC's match data differ in length")
            matching = (numbers, uids)
    scanner.expect(b")")
    return Resync(validity, modseq, known, matching)


class Create(NamedTuple):
    """CREATE with the special uses of RFC 6154 3, such as ``\\Drafts``, as written."""

    mailbox: str
    uses: tuple[bytes, ...] = ()


def create(scanner: Scanner) -> Create:
    """CREATE."""
    name = scanner.mailbox()
    uses: list[bytes] = []
    if scanner.skip(b" ("):
        scanner.expect_word(b"USE")
        scanner.expect(b" (")
        if not scanner.skip(b")"):
            while True:
                scanner.expect(b"\\")
                uses.append(b"\\" + scanner.atom())
                if not scanner.skip(b" "):
                    break
            scanner.expect(b")")
        scanner.expect(b")")
    scanner.end()
    return Create(name, tuple(uses))


def status_items(scanner: Scanner) -> tuple[bytes, ...]:
    """``(MESSAGES UNSEEN)``, at least one, without repetitions."""
    words = scanner.parenthesised_words()
    for word in words:
        if word not in STATUS_ITEMS:
            raise BadCommand(f"Unknown STATUS item {word[:40].decode('ascii')}")
    return tuple(dict.fromkeys(words))


def status(scanner: Scanner) -> tuple[str, tuple[bytes, ...]]:
    """STATUS: mailbox and items (RFC 9051 6.3.11)."""
    name = scanner.mailbox()
    scanner.space()
    items = status_items(scanner)
    scanner.end()
    return name, items


class List(NamedTuple):
    """LIST: ``patterns`` in the order given, ``selection`` of SUBSCRIBED REMOTE RECURSIVEMATCH SPECIAL-USE; ``returns``
    of SUBSCRIBED CHILDREN SPECIAL-USE STATUS MYRIGHTS METADATA with ``status`` items and ``metadata`` entries.
    ``extended``: patterns in parentheses or options were given, so the rules of RFC 5258 hold."""

    reference: str
    patterns: tuple[str, ...]
    selection: frozenset[bytes] = frozenset()
    returns: frozenset[bytes] = frozenset()
    status: tuple[bytes, ...] = ()
    metadata: tuple[str, ...] = ()
    extended: bool = False


_SELECTION = frozenset((b"SUBSCRIBED", b"REMOTE", b"RECURSIVEMATCH", b"SPECIAL-USE"))


def list_mailboxes(scanner: Scanner) -> List:
    """LIST (RFC 9051 6.3.9, RFC 5258, 5819, 6154, 8440, 9590)."""
    selection: frozenset[bytes] = frozenset()
    extended = False
    if scanner.skip(b"("):
        extended = True
        words = []
        if not scanner.skip(b")"):
            while True:
                words.append(scanner.keyword())
                if not scanner.skip(b" "):
                    break
            scanner.expect(b")")
        selection = frozenset(words)
        if not selection <= _SELECTION:
            raise BadCommand("Unknown LIST selection option")
        if b"RECURSIVEMATCH" in selection and not selection & {b"SUBSCRIBED", b"SPECIAL-USE"}:
            # RFC 5258 3.1: RECURSIVEMATCH alone, or with REMOTE alone, is BAD.
            raise BadCommand("RECURSIVEMATCH needs another selection option")
        scanner.space()
    reference = scanner.mailbox()
    scanner.space()
    if scanner.skip(b"("):
        extended = True
        patterns = []
        while True:
            patterns.append(scanner.list_mailbox())
            if not scanner.skip(b" "):
                break
        scanner.expect(b")")
    else:
        patterns = [scanner.list_mailbox()]
    found = List(reference, tuple(patterns), selection, extended=extended)
    if scanner.skip(b" RETURN (") or (scanner.skip(b" ") and _return_follows(scanner)):
        found = _list_returns(scanner, found)
    scanner.end()
    return found


def _return_follows(scanner: Scanner) -> bool:
    if scanner.at_end:
        return False
    scanner.expect_word(b"RETURN")
    scanner.expect(b" (")
    return True


def _list_returns(scanner: Scanner, found: List) -> List:
    words = []
    items: tuple[bytes, ...] = ()
    entries: tuple[str, ...] = ()
    if not scanner.skip(b")"):
        while True:
            word = scanner.keyword()
            if word == b"STATUS":
                scanner.space()
                items = status_items(scanner)
            elif word == b"METADATA":
                scanner.space()
                entries = metadata_entries(scanner)
            elif word not in (b"SUBSCRIBED", b"CHILDREN", b"SPECIAL-USE", b"MYRIGHTS"):
                raise BadCommand("Unknown LIST return option")
            words.append(word)
            if not scanner.skip(b" "):
                break
        scanner.expect(b")")
    return found._replace(returns=frozenset(words), status=items, metadata=entries, extended=True)


def metadata_entries(scanner: Scanner, *, above: bool = False) -> tuple[str, ...]:
    """One entry name, or several in parentheses (RFC 5464 4.2). ``above``: what is below them is wanted too, so
    /private and /shared are names as well."""
    if not scanner.skip(b"("):
        return (scanner.entry(above=above),)
    found = [scanner.entry(above=above)]
    while scanner.skip(b" "):
        found.append(scanner.entry(above=above))
    scanner.expect(b")")
    return tuple(dict.fromkeys(found))


def lsub(scanner: Scanner) -> tuple[str, str]:
    """LSUB (RFC 3501 6.3.9): reference and pattern."""
    reference = scanner.mailbox()
    scanner.space()
    pattern = scanner.list_mailbox()
    scanner.end()
    return reference, pattern


class Store(NamedTuple):
    """STORE: ``mode`` is ``=``, ``+`` or ``-``; ``unchanged_since`` of RFC 7162 3.1.3 or None."""

    numbers: SequenceSet
    mode: str
    silent: bool
    flags: tuple[bytes, ...]
    unchanged_since: int | None = None


def store(scanner: Scanner) -> Store:
    """STORE and UID STORE (RFC 9051 6.4.6)."""
    numbers = scanner.sequence_set()
    scanner.space()
    since = None
    if scanner.skip(b"("):
        scanner.expect_word(b"UNCHANGEDSINCE")
        scanner.space()
        since = scanner.number64()
        scanner.expect(b") ")
    mode = "+" if scanner.skip(b"+") else "-" if scanner.skip(b"-") else "="
    word = scanner.keyword()
    if word not in (b"FLAGS", b"FLAGS.SILENT"):
        raise BadCommand("STORE takes FLAGS, +FLAGS or -FLAGS, with or without .SILENT")
    scanner.space()
    flags = scanner.flags()
    scanner.end()
    return Store(numbers, mode, word == b"FLAGS.SILENT", flags, since)


def copy(scanner: Scanner) -> tuple[SequenceSet, str]:
    """COPY, MOVE and their UID forms: the messages and where to."""
    numbers = scanner.sequence_set()
    scanner.space()
    return numbers, mailbox(scanner)


def expunge(scanner: Scanner) -> SequenceSet:
    """UID EXPUNGE (RFC 4315 2.1)."""
    numbers = scanner.sequence_set()
    scanner.end()
    return numbers
