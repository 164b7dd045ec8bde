"""What is offered to whom, and how long a wrong password waits. Pure: time comes in as an argument."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field

from tubepost.common.mail.network import network_of
from tubepost.common.sasl.mechanisms import CLEAR_SECRETS, PASSWORDS, PLAINTEXT, TOKENS

_TABLE_LIMIT = 50_000
# Wrong passwords remembered for an address or account, so that one told again and again counts once.
_DIGESTS = 8
# Tries under way for one address, or one account, at one time.
_HELD = 10
# Of a name so much tells accounts apart: who tries longer ones, which are none, fills no memory with them.
_NAME = 256
# 2 ** 20 times the delay is more than any longest delay.
_MOST_DOUBLINGS = 20


@dataclass(frozen=True, slots=True)
class Line:
    """The connection that a client came by, as far as it matters here."""

    scope: str
    client: str
    tls: bool
    binding: bool
    certificate: bool


@dataclass(frozen=True, slots=True)
class Abilities:
    """What the backends can do between them."""

    passwords: bool
    scram: bool
    clear: bool
    tokens: bool


def is_loopback(client: str) -> bool:
    """No address (a UNIX socket) counts as this host too."""
    if not client:
        return True
    try:
        return ipaddress.ip_address(client).is_loopback
    except ValueError:
        return False


def offered(wanted: Sequence[str], line: Line, abilities: Abilities, *, plaintext: bool) -> tuple[str, ...]:
    """Of ``wanted`` (auth_mechanisms, upper case) those that this connection may use. ``plaintext``: even in clear."""
    return tuple(name for name in wanted if not refused(name, line, abilities, plaintext=plaintext))


def refused(name: str, line: Line, abilities: Abilities, *, plaintext: bool) -> str:
    """Why this mechanism is not for this connection: a Cause of wire.auth; empty: it is."""
    if name in PLAINTEXT and not (line.tls or plaintext or is_loopback(line.client)):
        # RFC 4616 1, RFC 7628 5: TLS first.
        return "plaintext"
    if name in PASSWORDS:
        possible = abilities.passwords
    elif name in TOKENS:
        possible = abilities.tokens
    elif name in CLEAR_SECRETS:
        possible = abilities.clear and (name != "APOP" or line.scope == "pop3")
    elif name == "EXTERNAL":
        possible = line.tls and line.certificate
    else:
        possible = abilities.scram and (not name.endswith("-PLUS") or (line.tls and line.binding))
    return "" if possible else "mechanism"


@dataclass(slots=True)
class _Record:
    last: float
    count: int = 0
    held: int = 0
    digests: list[bytes] = field(default_factory=list)


class Penalties:
    """Failures by client address and by account. ``base``, ``longest``, ``memory``: seconds."""

    def __init__(self, base: float, longest: float, memory: float) -> None:
        self._base = base
        self._longest = longest
        self._memory = memory
        self._records: dict[str, _Record] = {}
        self._friends: dict[tuple[str, str], float] = {}

    def _keys(self, client: str, account: str) -> list[str]:
        keys = []
        # All the users of a webmail on this host come from one address.
        if not is_loopback(client):
            keys.append(f"address {network_of(client)}")
        # Who logged in from here before is not to be kept out by what others try elsewhere.
        if account and (client, account) not in self._friends:
            keys.append(f"account {account[:_NAME]}")
        return keys

    def hold(self, client: str, account: str, now: float) -> "Hold | None":
        """A try begins; None: too many are under way. Give it back with ``release``, after its delay."""
        records = [self._record(key, now) for key in self._keys(client, account)]
        if any(record.held >= _HELD for record in records):
            return None
        for record in records:
            record.held += 1
        return Hold(records)

    def release(self, hold: "Hold") -> None:
        for record in hold.records:
            record.held -= 1

    def failed(self, hold: "Hold", digest: bytes, now: float) -> float:
        """The try was wrong: seconds until it may be answered. ``digest``: of what was tried."""
        longest = 0
        for record in hold.records:
            # A program that keeps telling the password of last week is no attack.
            if digest not in record.digests:
                record.digests = [*record.digests[1 - _DIGESTS :], digest]
                record.count += 1
            record.last = now
            longest = max(longest, record.count)
        return min(self._base * 2.0 ** min(max(longest, 1) - 1, _MOST_DOUBLINGS), self._longest)

    def succeeded(self, client: str, account: str, now: float) -> None:
        self._friends.pop((client, account), None)
        if len(self._friends) >= _TABLE_LIMIT:
            del self._friends[next(iter(self._friends))]
        self._friends[client, account] = now

    def _record(self, key: str, now: float) -> _Record:
        record = self._records.pop(key, None)
        if record is None:
            if len(self._records) >= _TABLE_LIMIT:
                self._make_room()
            record = _Record(now)
        elif now - record.last >= self._memory:
            record.count = 0
            record.digests = []
        # The last that was used stands last.
        self._records[key] = record
        return record

    def _make_room(self) -> None:
        victim = next((key for key, record in self._records.items() if not record.held), next(iter(self._records)))
        del self._records[victim]

    def forget(self, now: float) -> None:
        """Drop what is over."""
        over = [key for key, r in self._records.items() if not r.held and now - r.last >= self._memory]
        for key in over:
            del self._records[key]

    def __len__(self) -> int:
        return len(self._records)


class Hold:
    """One try that is under way."""

    __slots__ = ("records",)

    def __init__(self, records: list[_Record]) -> None:
        self.records = records
