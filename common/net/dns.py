"""An asynchronous DNS resolver (RFC 1034, 1035; dnspython does the wire format).

An answer is a value with an ``Outcome``: a mail system treats "no such name" and "cannot tell now" so differently that
no exception should be able to blur them. Answers, negative ones too, are kept for their time to live, within bounds.
Equal questions asked at the same time are asked once.
"""

import asyncio
import enum
import ipaddress
import os
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

# dnspython imports these when a record of the type comes, which is after this program's confinement.
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.MX
import dns.rdtypes.ANY.NS
import dns.rdtypes.ANY.OPT
import dns.rdtypes.ANY.PTR
import dns.rdtypes.ANY.SOA
import dns.rdtypes.ANY.TXT
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.rrset

from tubepost.common.system import log
from tubepost.common.net.nameserver import Server, ask

RESOLV_CONF = "/etc/resolv.conf"
# resolv.conf(5): three servers at most, 5 seconds, 2 rounds unless its options say otherwise.
_SERVERS_LIMIT = 3
_TIMEOUT, _ATTEMPTS = 5.0, 2
# How often resolv.conf is looked at for changes, seconds (as glibc's automatic reload, bounded).
_RELOAD_INTERVAL = 5.0
_CACHE_SIZE = 10_000
# RFC 2181 8 leaves the upper bound to us: a day for what is found, RFC 2308 5 suggests 1 to 3 hours for what is not.
_LONGEST, _LONGEST_NEGATIVE = 86_400, 10_800
# Without dns_ncache_ttl_fix_enable a name that does not exist is asked for again soon.
_NEGATIVE = 60
# A record set of more than this is nobody's mail host (Postfix: dns_rr_list_limit 100).
_RECORDS_LIMIT = 100
_PAYLOAD = 1232
# Postfix dns_lookup(3): of aliases of aliases.
_ALIASES_LIMIT = 10
_NO_EXTENSIONS = frozenset({dns.rcode.FORMERR, dns.rcode.NOTIMP, dns.rcode.BADVERS})


class Outcome(enum.Enum):
    """What became of a question. The value is for people."""

    FOUND = "found"
    NO_DOMAIN = "Host not found"
    """NXDOMAIN: there is no such name."""
    NO_RECORD = "Host found but no data record of requested type"
    """The name is there, a record of this type is not."""
    TRY_AGAIN = "Host not found, try again"
    """No server answered, or they are in trouble."""
    REFUSED = "Non-recoverable error"
    """The servers understood and will not answer."""
    INVALID = "Malformed or unexpected name server reply"
    """What was asked for is no DNS name, or what was answered is none."""
    FILTERED = "DNS reply filter drops all results"


@dataclass(frozen=True, slots=True)
class Answer:
    """``values`` as text: addresses, host names without final dot, TXT strings joined. MX: see ``preferences``."""

    outcome: Outcome
    values: tuple[str, ...] = ()
    preferences: tuple[int, ...] = ()
    """MX only: of each value. A null MX (RFC 7505) has the value ""."""
    name: str = ""
    kind: str = ""
    detail: str = ""

    @property
    def found(self) -> bool:
        return self.outcome is Outcome.FOUND

    @property
    def absent(self) -> bool:
        """It is certain that there is nothing."""
        return self.outcome in (Outcome.NO_DOMAIN, Outcome.NO_RECORD)

    @property
    def why(self) -> str:
        """As Postfix says it in bounces and log lines."""
        if self.outcome is Outcome.FILTERED:
            return f"Error looking up name={self.name} type={self.kind}: {self.outcome.value}"
        lead = "Host or domain name not found. " if self.outcome is not Outcome.INVALID else ""
        return f"{lead}Name service error for name={self.name} type={self.kind}: {self.outcome.value}"


Exchange = Callable[[dns.message.Message, Server, float], Awaitable[dns.message.Message]]
"""Sends a question to a server and gives its answer; raises DNSException or OSError."""
Filter = Callable[[str], Awaitable[str | None]]
"""Asked for ``name ttl class type preference value``; ``IGNORE`` drops the record (smtp_dns_reply_filter)."""


class FilterError(Exception):
    """The filter cannot tell now: the question is to be asked again later."""


def parse_servers(texts: Sequence[str]) -> tuple[Server, ...]:
    """``192.0.2.1``, ``192.0.2.1:5353``, ``[2001:db8::1]:53``. Raises ValueError."""
    servers = []
    for text in texts:
        host, port = text, "53"
        if text.startswith("["):
            host, bracket, rest = text[1:].partition("]")
            if not bracket or (rest and not rest.startswith(":")):
                raise ValueError(f'"{text}" is no name server: write address, address:port or [address]:port')
            port = rest[1:] or "53"
        elif text.count(":") == 1:
            host, _, port = text.partition(":")
        try:
            address = str(ipaddress.ip_address(host))
        except ValueError:
            raise ValueError(f'"{host}" is no address of a name server') from None
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f'"{port}" is no port of a name server')
        servers.append((address, int(port)))
    return tuple(servers)


@dataclass(slots=True)
class _Settings:
    servers: tuple[Server, ...]
    timeout: float = _TIMEOUT
    attempts: int = _ATTEMPTS
    rotate: bool = False


def _read_resolv_conf(path: str) -> _Settings:
    settings = _Settings(())
    servers: list[Server] = []
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(65536).splitlines()
    except OSError:
        lines = []
    for line in lines:
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                servers.append((str(ipaddress.ip_address(words[1].partition("%")[0])), 53))
            except ValueError:
                continue
        elif words[:1] == ["options"]:
            for word in words[1:]:
                name, _, value = word.partition(":")
                if name == "timeout" and value.isdigit():
                    settings.timeout = min(max(float(value), 1.0), 30.0)
                elif name == "attempts" and value.isdigit():
                    settings.attempts = min(max(int(value), 1), 5)
                elif name == "rotate":
                    settings.rotate = True
    # resolv.conf(5): without a nameserver line, the one on this host.
    settings.servers = tuple(servers[:_SERVERS_LIMIT]) or (("127.0.0.1", 53),)
    return settings


class Resolver:
    """One a process. Coroutines never raise for what DNS says; they give an Answer."""

    def __init__(
        self,
        servers: Sequence[Server] = (),
        *,
        keep_negative: bool = False,
        keep: Filter | None = None,
        cache_size: int = _CACHE_SIZE,
        timeout: float = 0,
        clock: Callable[[], float] = time.monotonic,
        exchange: "Exchange | None" = None,
    ) -> None:
        """``servers``: instead of those in resolv.conf. ``keep_negative``: dns_ncache_ttl_fix_enable.

        ``keep``: the filter of answers. ``timeout``: seconds for one server, instead of resolv.conf's. ``exchange``:
        instead of UDP with TCP behind it.
        """
        self._fixed = tuple(servers)
        self._settings = _Settings(self._fixed) if servers else None
        self._timeout = timeout
        self._checked = 0.0
        self._stamp: object = None
        self._keep_negative = keep_negative
        self._filter = keep
        self._cache: OrderedDict[tuple[str, str], tuple[float, Answer]] = OrderedDict()
        self._cache_size = cache_size
        self._under_way: dict[tuple[str, str], asyncio.Future[Answer]] = {}
        self._clock = clock
        self._exchange = exchange or ask

    async def ask(self, name: str, kind: str) -> Answer:
        """``kind``: A, AAAA, MX, PTR, TXT, NS. ``name`` may be Unicode (IDNA 2003, as RFC 3490)."""
        name = name.rstrip(".").lower()
        key = (name, kind)
        cached = self._cache.get(key)
        if cached is not None:
            if cached[0] > self._clock():
                self._cache.move_to_end(key)
                return cached[1]
            del self._cache[key]
        running = self._under_way.get(key)
        if running is None:
            running = asyncio.ensure_future(self._resolve(name, kind))
            self._under_way[key] = running
            running.add_done_callback(lambda _: self._under_way.pop(key, None))
        # The one who asked first may be cancelled: the others still want to know.
        return await asyncio.shield(running)

    async def _resolve(self, name: str, kind: str) -> Answer:
        special = _special(name, kind)
        if special is not None:
            return special
        try:
            question = dns.name.from_text(f"{name}.")
        except (dns.exception.DNSException, UnicodeError, ValueError):
            return Answer(Outcome.INVALID, name=name, kind=kind, detail="not a domain name")
        settings = self._current()
        patience = (self._timeout or settings.timeout) * settings.attempts * len(settings.servers)
        try:
            # What servers may take that say nothing: who sends from alias to alias, or answers drop by drop when he is
            # asked again by TCP, is not waited for any longer. A client waits for the answer, and so does his slot.
            async with asyncio.timeout(patience):
                answer, lifetime = await self._follow(question, name, kind)
        except TimeoutError:
            answer, lifetime = Answer(Outcome.TRY_AGAIN, name=name, kind=kind, detail=f"not within {patience:.0f} s"), 0
        if lifetime > 0:
            if len(self._cache) >= self._cache_size:
                self._cache.popitem(last=False)
            self._cache[(name, kind)] = (self._clock() + lifetime, answer)
        return answer

    def _current(self) -> _Settings:
        if self._fixed:
            assert self._settings is not None
            return self._settings
        now = self._clock()
        if self._settings is None or now - self._checked >= _RELOAD_INTERVAL:
            self._checked = now
            try:
                status = os.stat(RESOLV_CONF)
                stamp: object = (status.st_mtime_ns, status.st_ino, status.st_size)
            except OSError:
                stamp = ()
            if self._settings is None or stamp != self._stamp:
                self._stamp = stamp
                self._settings = _read_resolv_conf(RESOLV_CONF)
        return self._settings

    async def _follow(self, question: dns.name.Name, name: str, kind: str) -> tuple[Answer, float]:
        """RFC 1034 5.2.2: where the server has an alias only, what it stands for is asked for."""
        longest: float = _LONGEST
        for _ in range(_ALIASES_LIMIT):
            response = await self._ask_servers(question, name, kind)
            if isinstance(response, Answer):
                return response, 0
            found, lifetime = await self._read(response, name, kind)
            longest = min(longest, lifetime)
            if isinstance(found, Answer):
                return found, longest
            question = found
        return Answer(Outcome.TRY_AGAIN, name=name, kind=kind, detail="aliases of aliases"), 0

    async def _ask_servers(self, question: dns.name.Name, name: str, kind: str) -> dns.message.Message | Answer:
        settings = self._current()
        servers = list(settings.servers)
        if settings.rotate:
            random.shuffle(servers)
        outcome, detail = Outcome.TRY_AGAIN, "no name server answered"
        for _ in range(settings.attempts):
            for address, port in servers:
                try:
                    response = await self._ask_server(question, kind, (address, port), settings)
                except (dns.exception.DNSException, OSError, EOFError, ValueError) as error:
                    detail = f"{address}: {type(error).__name__}"
                    continue
                code = response.rcode()
                if code in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                    return response
                detail = f"{address}: {dns.rcode.to_text(code)}"
                outcome = Outcome.REFUSED if code in (dns.rcode.FORMERR, dns.rcode.NOTIMP) else Outcome.TRY_AGAIN
            if outcome is Outcome.REFUSED:
                break
        log.debug(f"dns: {name} {kind}: {outcome.value}: {detail}")
        return Answer(outcome, name=name, kind=kind, detail=detail)

    async def _ask_server(
        self, question: dns.name.Name, kind: str, server: Server, settings: _Settings
    ) -> dns.message.Message:
        """Raises what ``Exchange`` raises."""
        patience = self._timeout or settings.timeout
        query = dns.message.make_query(question, kind, use_edns=0, payload=_PAYLOAD)
        response = await self._exchange(query, server, patience)
        if response.rcode() in _NO_EXTENSIONS:
            # RFC 6891 7: said of the OPT record, not of the name.
            response = await self._exchange(dns.message.make_query(question, kind), server, patience)
        return response

    async def _read(self, response: dns.message.Message, name: str, kind: str) -> tuple[Answer | dns.name.Name, float]:
        """An answer and its lifetime; or the name that is to be asked for in its stead, and the alias's."""
        if not isinstance(response, dns.message.QueryMessage):
            return Answer(Outcome.TRY_AGAIN, name=name, kind=kind), 0
        try:
            chain = response.resolve_chaining()
        except (dns.exception.DNSException, ValueError) as error:
            return Answer(Outcome.TRY_AGAIN, name=name, kind=kind, detail=type(error).__name__), 0
        if chain.answer is None:
            no_name = response.rcode() == dns.rcode.NXDOMAIN
            # RFC 2308 2: who knows that there is nothing behind the alias says so with an SOA record.
            knows = no_name or any(records.rdtype == dns.rdatatype.SOA for records in response.authority)
            if chain.cnames and not knows:
                return chain.canonical_name, chain.minimum_ttl
            lifetime = min(chain.minimum_ttl, _LONGEST_NEGATIVE if self._keep_negative else _NEGATIVE)
            return Answer(Outcome.NO_DOMAIN if no_name else Outcome.NO_RECORD, name=name, kind=kind), lifetime
        try:
            answer = await self._convert(chain.answer, name, kind)
        except FilterError as error:
            log.warning(str(error))
            return Answer(Outcome.TRY_AGAIN, name=name, kind=kind, detail=str(error)), 0
        return answer, min(chain.minimum_ttl, _LONGEST)

    async def _convert(self, records: dns.rrset.RRset, name: str, kind: str) -> Answer:
        values: list[str] = []
        preferences: list[int] = []
        dropped = malformed = False
        # The server's own order is kept (RFC 5321 5.1: addresses of a host in the order that the resolver gave).
        for record in list(records)[:_RECORDS_LIMIT]:
            value, preference = _value_of(record, kind)
            if value is None:
                malformed = True
                continue
            if self._filter is not None and await self._is_dropped(records, value, preference, kind):
                dropped = True
                continue
            values.append(value)
            if preference is not None:
                preferences.append(preference)
        if values:
            return Answer(Outcome.FOUND, tuple(values), tuple(preferences), name, kind)
        if malformed:
            log.warning(f"malformed domain name in resource data of {kind} record for {name}")
        return Answer(Outcome.FILTERED if dropped else Outcome.INVALID, name=name, kind=kind)

    async def _is_dropped(self, records: dns.rrset.RRset, value: str, preference: int | None, kind: str) -> bool:
        assert self._filter is not None
        text = value if kind in ("A", "AAAA") else f'"{value}"' if kind == "TXT" else f"{value}."
        middle = "" if preference is None else f"{preference} "
        line = f"{records.name.to_text()} {records.ttl} IN {kind} {middle}{text}"
        action = await self._filter(line)
        if action is None:
            return False
        if action.strip().upper() != "IGNORE":
            log.warning(f"dns reply filter: unknown DNS filter action: {action[:100]}")
            return False
        log.info(f"ignoring DNS RR: {line}")
        return True

    # Questions with their own shape

    async def addresses(self, name: str, versions: Sequence[int] = (4, 6)) -> tuple[tuple[str, ...], Answer]:
        """All addresses of a host; the Answer says why there are none, a passing trouble before a lasting one."""
        kinds = [kind for version, kind in ((4, "A"), (6, "AAAA")) if version in versions]
        answers = await asyncio.gather(*(self.ask(name, kind) for kind in kinds))
        found = tuple(value for answer in answers for value in answer.values)
        if found:
            return found, Answer(Outcome.FOUND, found, name=name, kind=kinds[0])
        order = (Outcome.TRY_AGAIN, Outcome.REFUSED, Outcome.INVALID, Outcome.FILTERED, Outcome.NO_RECORD)
        for outcome in order:
            for answer in answers:
                if answer.outcome is outcome:
                    return (), answer
        # Postfix says type=AAAA, the last one asked.
        return (), answers[-1]

    async def reverse(self, address: str) -> Answer:
        """PTR names of an address. Raises ValueError for what is none."""
        return await self.ask(ipaddress.ip_address(address.partition("%")[0]).reverse_pointer, "PTR")

    def forget(self) -> None:
        """Empty the cache."""
        self._cache.clear()


def _special(name: str, kind: str) -> Answer | None:
    # RFC 6761 6.3: localhost names are answered here and never sent out.
    if name == "localhost" or name.endswith(".localhost"):
        values = {"A": ("127.0.0.1",), "AAAA": ("::1",)}.get(kind)
        if values:
            return Answer(Outcome.FOUND, values, name=name, kind=kind)
        return Answer(Outcome.NO_RECORD, name=name, kind=kind)
    # RFC 6761 6.4
    if name == "invalid" or name.endswith(".invalid"):
        return Answer(Outcome.NO_DOMAIN, name=name, kind=kind)
    if not name:
        return Answer(Outcome.INVALID, name=name, kind=kind, detail="an empty name")
    return None


def _value_of(record: Any, kind: str) -> tuple[str | None, int | None]:
    if kind in ("A", "AAAA"):
        return str(record.address), None
    if kind == "MX":
        host = _host_name(record.exchange)
        return host, record.preference
    if kind in ("PTR", "NS"):
        return _host_name(record.target) or None, None
    if kind == "TXT":
        return b"".join(record.strings).decode("utf-8", "replace"), None
    return str(record.to_text()), None


def _host_name(name: dns.name.Name) -> str | None:
    """As text without the final dot; "" for the root; None where a label has bytes that no host name has."""
    if name == dns.name.root:
        return ""
    for label in name.labels[:-1]:
        if not all(byte in _HOST_BYTES for byte in label):
            return None
    return name.to_text(omit_final_dot=True).lower()


# RFC 1123 2.1, and the underscore that is found in the wild.
_HOST_BYTES = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
