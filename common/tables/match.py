"""Postfix's match lists: names, networks, files, tables, each perhaps negated; the first that matches decides.

``!pattern`` means no match; ``/file/name`` puts the file's patterns in its place; ``type:table`` matches when the key
is found. In domain lists ``.example.com`` means subdomains, and ``example.com`` them too where the parameter is named
in parent_domain_matches_subdomains. Runs of plain patterns are held in sets, so that a list of thousands is no slower.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from tubepost.common.tables.address import parent_names
from tubepost.common.tables.maps import Steps, run, run_now
from tubepost.common.tables.network import parse_network
from tubepost.common.tables.registry import open_table
from tubepost.common.tables.table import Table, TableEnvironment, TableError
from tubepost.common.tables.words import SyntaxFault, logical_lines, split_list

# Files that include files: more than this is a circle.
_DEPTH_LIMIT = 20
# Verdicts of a list without tables, which hold as long as the list does: the same clients and domains come again.
_KNOWN_LIMIT = 1000


class _Run:
    """Plain patterns that follow each other with the same sign, or one table, or a fault."""

    __slots__ = ("fault", "names", "networks", "table", "wanted")

    def __init__(self, wanted: bool, table: Table | None = None, fault: str = "") -> None:
        self.wanted = wanted
        self.table = table
        self.fault = fault
        self.names: set[str] = set()
        # (version, mask): network numbers. As many look-ups as there are different prefix lengths.
        self.networks: dict[tuple[int, int], set[int]] = {}


class _MatchList:
    """``bool()``: not empty. ``immediate``: the ``_now`` form works."""

    __slots__ = ("_known", "_parents", "_runs", "immediate", "title")
    _networks = False
    _domains = False

    def __init__(
        self,
        title: str,
        patterns: str | Iterable[str],
        environment: TableEnvironment,
        *,
        parents: bool = False,
    ) -> None:
        """``title``: the parameter's name, for messages. ``parents``: see ``matches_subdomains``."""
        self.title = title
        self._parents = parents
        self._runs: list[_Run] = []
        items = split_list(patterns) if isinstance(patterns, str) else list(patterns)
        self._add(items, True, environment, 0)
        self.immediate = all(run.table is None or run.table.immediate for run in self._runs)
        plain = all(run.table is None and not run.fault for run in self._runs)
        self._known: dict[tuple[str, str], bool] | None = {} if plain else None

    def __bool__(self) -> bool:
        return bool(self._runs)

    def _add(self, items: Iterable[str], wanted: bool, environment: TableEnvironment, depth: int) -> None:
        for item in items:
            positive = wanted
            while item.startswith("!"):
                positive = not positive
                item = item[1:]
            if not item:
                self._broken(environment, positive, f"{self.title}: no pattern after '!'")
            elif item.startswith("/"):
                self._include(item, positive, environment, depth)
            elif ":" in item and not item.startswith("["):
                # Exact keys of a match list are folded here; the table is asked as it is (Postfix the same).
                self._runs.append(_Run(positive, open_table(item, environment=environment)))
            else:
                self._plain(item.casefold(), positive, environment)

    def _include(self, path: str, wanted: bool, environment: TableEnvironment, depth: int) -> None:
        if depth >= _DEPTH_LIMIT:
            self._broken(environment, wanted, f"{self.title}: {path}: files include each other")
            return
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                lines = [line for number, line in logical_lines(file) if number > 0]
        except OSError as error:
            self._broken(environment, wanted, f"{self.title}: cannot open {path}: {error.strerror}")
            return
        for line in lines:
            self._add(split_list(line), wanted, environment, depth + 1)

    def _broken(self, environment: TableEnvironment, wanted: bool, fault: str) -> None:
        environment.warn(fault)
        self._runs.append(_Run(wanted, fault=fault))

    def _plain(self, item: str, wanted: bool, environment: TableEnvironment) -> None:
        last = self._runs[-1] if self._runs else None
        if last is None or last.table is not None or last.fault or last.wanted is not wanted:
            last = _Run(wanted)
            self._runs.append(last)
        if self._networks and _looks_like_network(item):
            try:
                version, number, mask = parse_network(item)
            except SyntaxFault as fault:
                self._broken(environment, wanted, f"{self.title}: {fault}")
                return
            last.networks.setdefault((version, mask), set()).add(number)
        else:
            last.names.add(item)

    def _match_now(self, name: str, address: str) -> bool:
        known = self._known
        if known is None:
            return run_now(self._search(name, address))
        verdict = known.get((name, address))
        if verdict is None:
            if len(known) >= _KNOWN_LIMIT:
                known.clear()
            verdict = known[name, address] = run_now(self._search(name, address))
        return verdict

    async def _match(self, name: str, address: str) -> bool:
        if self._known is not None:
            return self._match_now(name, address)
        return await run(self._search(name, address))

    def _search(self, name: str, address: str) -> Steps[bool]:
        name = name.casefold()
        number: IPv4Address | IPv6Address | None = None
        if address:
            address = address.casefold()
            try:
                number = ip_address(address)
            except ValueError:
                address = ""
        for entry in self._runs:
            if entry.fault:
                raise TableError(entry.fault)
            if entry.table is not None:
                found = yield from self._ask(entry.table, name, address)
                if found:
                    return entry.wanted
                continue
            if number is not None and entry.networks:
                version, value = number.version, int(number)
                for (kind, mask), numbers in entry.networks.items():
                    if kind == version and value & mask in numbers:
                        return entry.wanted
            if name and entry.names:
                if name in entry.names:
                    return entry.wanted
                if self._domains:
                    for parent in parent_names(name, not self._parents):
                        if parent in entry.names:
                            return entry.wanted
        return False

    def _ask(self, table: Table, name: str, address: str) -> Steps[bool]:
        if name:
            for key in parent_names(name, not self._parents) if self._domains and not table.patterned else (name,):
                value = yield table, key
                if value is not None:
                    return True
        if address:
            value = yield table, address
            return value is not None
        return False


def _looks_like_network(item: str) -> bool:
    if item.startswith("[") or ":" in item:
        return True
    host, _, prefix = item.partition("/")
    return bool(host) and not host.strip("0123456789.") and host.count(".") == 3 and not prefix.strip("0123456789")


class StringList(_MatchList):
    """Exact strings (virtual_mailbox_domains, propagate_unmatched_extensions …)."""

    __slots__ = ()

    def search(self, text: str) -> Steps[bool]:
        return self._search(text, "")

    async def match(self, text: str) -> bool:
        """Raises TableError."""
        return await self._match(text, "")

    def match_now(self, text: str) -> bool:
        """As ``match``, when ``immediate``."""
        return self._match_now(text, "")


class DomainList(StringList):
    """Domain names and their subdomains (relay_domains, fast_flush_domains …)."""

    __slots__ = ()
    _domains = True


class AddressList(_MatchList):
    """IP addresses and networks (smtpd_authorized_… by address, mynetworks without names)."""

    __slots__ = ()
    _networks = True

    def search(self, address: str) -> Steps[bool]:
        return self._search("", address)

    async def match(self, address: str) -> bool:
        """``address`` as text, without brackets. Raises TableError."""
        return await self._match("", address)

    def match_now(self, address: str) -> bool:
        """As ``match``, when ``immediate``."""
        return self._match_now("", address)


class HostList(_MatchList):
    """Host names with their subdomains, and addresses: Postfix's namadr lists (mynetworks, debug_peer_list …)."""

    __slots__ = ()
    _networks = True
    _domains = True

    def search(self, name: str, address: str) -> Steps[bool]:
        return self._search(name, address)

    async def match(self, name: str, address: str) -> bool:
        """``name``: ``unknown`` or empty when not known. Raises TableError."""
        return await self._match(name, address)

    def match_now(self, name: str, address: str) -> bool:
        """As ``match``, when ``immediate``."""
        return self._match_now(name, address)


class LocalDomains:
    """Is a domain this system's: $mydestination, or ``[address]`` of $inet_interfaces, $proxy_interfaces.

    ``myorigin`` counts too where address maps ask (mail_addr_find), not in ``search_destination``.
    """

    __slots__ = ("_addresses", "_list", "_origin")

    def __init__(
        self,
        mydestination: str | Iterable[str],
        environment: TableEnvironment,
        *,
        addresses: Iterable[str] = (),
        myorigin: str = "",
    ) -> None:
        """``addresses``: of this host's interfaces in use, as text."""
        self._list = StringList("mydestination", mydestination, environment)
        self._addresses = {ip_address(address.partition("%")[0]) for address in addresses}
        self._origin = myorigin.casefold()

    @property
    def immediate(self) -> bool:
        return self._list.immediate

    def find(self, domain: str) -> bool:
        """As ``search``, when ``immediate``. Raises TableError."""
        folded = domain.casefold()
        if self._origin and folded == self._origin:
            return True
        if domain.startswith("[") or domain.endswith("."):
            return run_now(self.search_destination(domain))
        return bool(domain) and self._list.match_now(folded)

    def search(self, domain: str) -> Steps[bool]:
        """For ``address.find``: also $myorigin."""
        if self._origin and domain.casefold() == self._origin:
            return True
        return (yield from self.search_destination(domain))

    def search_destination(self, domain: str) -> Steps[bool]:
        """As Postfix's resolve_local. A final dot does not matter. Raises TableError."""
        if domain.endswith(".") and not domain.endswith(".."):
            domain = domain[:-1]
        if not domain:
            return False
        if (yield from self._list.search(domain)):
            return True
        address = literal_address(domain)
        return address is not None and address in self._addresses

    async def match(self, domain: str) -> bool:
        """See ``search_destination``."""
        return await run(self.search_destination(domain))


def literal_address(domain: str) -> IPv4Address | IPv6Address | None:
    """``[192.0.2.1]``, ``[IPv6:2001:db8::1]`` to the address (RFC 5321 4.1.3); None for anything else."""
    if not (domain.startswith("[") and domain.endswith("]")):
        return None
    text = domain[1:-1]
    if text[:5].lower() == "ipv6:":
        text = text[5:]
        if ":" not in text:
            return None
    elif ":" in text:
        return None
    if "%" in text:
        return None
    try:
        return ip_address(text)
    except ValueError:
        return None


def matches_subdomains(setting: str | Iterable[str], parameter: str, environment: TableEnvironment) -> bool:
    """Is ``parameter`` named in parent_domain_matches_subdomains (``setting``)? Give the result as ``parents``."""
    return StringList("parent_domain_matches_subdomains", setting, environment).match_now(parameter)
