"""The search for an address and its parts, and match lists against a naive model."""

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.tables import Maps, Table, TableEnvironment, TableError
from tubepost.common.tables import address as search
from tubepost.common.tables.address import Found, Strategy
from tubepost.common.tables.maps import run_now
from tubepost.common.tables.match import (
    AddressList,
    DomainList,
    HostList,
    LocalDomains,
    StringList,
    literal_address,
    matches_subdomains,
)

ENVIRONMENT = TableEnvironment(warn=lambda text: None)
LOCAL = LocalDomains("here.test", ENVIRONMENT, addresses=["127.0.0.1", "::1"], myorigin="origin.test")


class Recorder(Table):
    """Finds nothing, and notes what it is asked."""

    __slots__ = ("keys",)

    def __init__(self) -> None:
        super().__init__("recorder", "x")
        self.keys: list[str] = []

    def _find(self, key: str) -> str | None:
        self.keys.append(key)
        return None


def asked(address: str, strategy: Strategy, local: LocalDomains | None = LOCAL) -> list[str]:
    maps = Maps("", ENVIRONMENT)
    table = Recorder()
    maps.tables = (table,)
    assert search.find_now(maps, address, delimiter="+", strategy=strategy, local=local) is None
    return table.keys


@given(
    st.text(st.sampled_from('ab+.@"\\ P[]ü'), min_size=1, max_size=12),
    st.sampled_from(["", "@here.test", "@Here.test.", "@origin.test", "@d.test", "@[127.0.0.1]", "@"]),
    st.sampled_from(["", "+", "+b"]),
    st.sets(st.integers(0, 4)),
)
def test_the_short_way_asks_and_finds_the_same(local: str, domain: str, delimiter: str, hits: set[int]) -> None:
    """``find_now`` against the general search, whatever is found at whichever question."""

    class Hits(Recorder):
        __slots__ = ()

        def _find(self, key: str) -> str | None:
            self.keys.append(key)
            return "found" if len(self.keys) in hits else None

    maps = Maps("", ENVIRONMENT)
    results = []
    for find in (search.find_now, lambda *a, **k: run_now(search.search(*a, **k))):
        table = Hits()
        maps.tables = (table,)
        results.append((find(maps, local + domain, delimiter=delimiter, local=LOCAL), table.keys))
    assert results[0] == results[1]


def test_a_list_remembers_no_more_than_it_may() -> None:
    hosts = HostList("mynetworks", "192.0.2.0/24, .inside.test", ENVIRONMENT)
    for number in range(3000):
        assert hosts.match_now(f"h{number}.inside.test", "203.0.113.1")
        assert not hosts.match_now("unknown", f"198.51.100.{number % 256}")
    assert hosts._known is not None and len(hosts._known) <= 1000


def test_order_of_keys() -> None:
    assert asked("u+e@d.test", search.DEFAULT) == ["u+e@d.test", "u@d.test", "@d.test"]
    assert asked("u+e@here.test", search.DEFAULT) == ["u+e@here.test", "u@here.test", "u+e", "u", "@here.test"]
    assert asked("u@origin.test", search.DEFAULT) == ["u@origin.test", "u", "@origin.test"]
    assert asked("u@[127.0.0.1]", search.DEFAULT) == ["u@[127.0.0.1]", "u", "@[127.0.0.1]"]
    assert asked("u", search.DEFAULT) == ["u"]
    assert asked("u+e@a.b.c", search.transport_strategy(True)) == ["u+e@a.b.c", "u@a.b.c", "a.b.c", "b.c", "c"]
    assert asked("u@a.b.c", search.transport_strategy(False)) == ["u@a.b.c", "a.b.c", ".b.c", ".c"]
    assert asked("u+e@a.b", search.access_strategy(True)) == ["u+e@a.b", "u@a.b", "a.b", "b", "u+e@", "u@"]
    assert asked('"a b"@d', search.DEFAULT) == ['"a b"@d', "a b@d", "@d"]
    assert asked("postmaster+x@d", search.DEFAULT, None)[0] == "postmaster+x@d"
    assert asked("+e@d", search.DEFAULT) == ["+e@d", "@d"], "nothing is left without the extension"


def test_extension_and_expansion() -> None:
    maps = Maps("inline:{u@d=x@y, @w=@v}", ENVIRONMENT)
    found = search.find_now(maps, "u+e@D", delimiter="+")
    assert found == Found("x@y", "+e")
    assert search.expand("u+e@d", found, lambda text: text.split(", "), True) == ["x+e@y"]
    assert search.expand("u+e@d", found, lambda text: text.split(", "), False) == ["x@y"]
    found = search.find_now(maps, "u+e@w", delimiter="+")
    assert found == Found("@v", "")
    assert search.expand("u+e@w", found, lambda text: [text], True) == ["u+e@v"]
    assert search.add_extension('"a b"@c', "+x y") == '"a b+x y"@c'


def test_patterns_see_whole_addresses_only() -> None:
    maps = Maps("regexp:{{/^@/ wrong} {/^u$/ wrong}}", ENVIRONMENT)
    assert search.find_now(maps, "u@here.test", local=LOCAL) is None


def test_hosts_and_networks() -> None:
    maps = Maps("inline:{.b.c=1,192.0.2=2,2001:db8=3}", ENVIRONMENT)
    assert run_now(search.search_host(maps, "a.b.c", False)) == "1"
    assert run_now(search.search_host(maps, "b.c", False)) is None
    assert run_now(search.search_network(maps, "192.0.2.7")) == "2"
    assert run_now(search.search_network(maps, "2001:db8:1::5")) == "3"


def test_local_domains() -> None:
    def local(domain: str) -> bool:
        return run_now(LOCAL.search_destination(domain))

    assert local("HERE.test")
    assert local("here.test.")
    assert local("[127.0.0.1]")
    assert local("[IPv6:::1]")
    assert not local("[127.0.0.2]")
    assert not local("127.0.0.1")
    assert not local("origin.test")
    assert not local("")


@pytest.mark.parametrize(
    "text", ["[]", "[1.2.3]", "[::1]", "[IPv6:1.2.3.4]", "1.2.3.4", "[1.2.3.4", "[IPv6:fe80::1%e]"]
)
def test_no_literals(text: str) -> None:
    assert literal_address(text) is None


def test_match_lists(tmp_path: Path) -> None:
    path = tmp_path / "names"
    path.write_text("# comment\n!bad.file.test, file.test\n  10.9.0.0/16\n")
    hosts = HostList(
        "mynetworks", f"!10.1.0.0/16 10.0.0.0/8, [2001:db8::]/32 .sub.test {path} inline:{{t.test=x}}", ENVIRONMENT
    )
    assert not hosts.match_now("", "10.1.2.3")
    assert hosts.match_now("", "10.2.2.3")
    assert hosts.match_now("unknown", "2001:DB8::1")
    assert hosts.match_now("a.SUB.test", "")
    assert not hosts.match_now("sub.test", "")
    assert hosts.match_now("file.test", "")
    assert not hosts.match_now("bad.file.test", "")
    assert hosts.match_now("t.test", "")
    assert not hosts.match_now("junk", "not an address")
    assert not AddressList("x", f"!{path}", ENVIRONMENT).match_now("10.9.1.1")


def test_parents() -> None:
    assert matches_subdomains("debug_peer_list,relay_domains", "relay_domains", ENVIRONMENT)
    domains = DomainList("relay_domains", "a.test inline:{b.test=1}", ENVIRONMENT, parents=True)
    assert domains.match_now("x.y.a.test")
    assert domains.match_now("x.b.test")
    assert not domains.match_now("xa.test")
    strict = DomainList("relay_domains", "a.test inline:{.b.test=1}", ENVIRONMENT)
    assert not strict.match_now("x.a.test")
    assert strict.match_now("x.b.test")
    assert not strict.match_now("b.test")
    assert not StringList("x", ".a.test", ENVIRONMENT).match_now("x.a.test")


@pytest.mark.parametrize("patterns", ["10.0.0.1/8", "10.0.0.0/40", "[::1", "/no/such/file", "fail:x", "a !"])
def test_faults_defer(patterns: str) -> None:
    hosts = HostList("mynetworks", patterns, ENVIRONMENT)
    with pytest.raises(TableError):
        hosts.match_now("other.test", "10.0.0.2")


def test_files_that_include_each_other(tmp_path: Path) -> None:
    path = tmp_path / "loop"
    path.write_text(f"{path}\n")
    with pytest.raises(TableError):
        StringList("x", str(path), ENVIRONMENT).match_now("a")


_LABELS = st.sampled_from(["a", "b", "c"])
_NAMES = st.lists(_LABELS, min_size=1, max_size=3).map(".".join)
_NETWORKS = st.builds(
    lambda number, length: str(ipaddress.ip_network((number & 0xFF000000, length), strict=False)),
    st.integers(0, 2**32 - 1),
    st.sampled_from([4, 8]),
)
_PATTERNS = st.lists(
    st.tuples(st.booleans(), st.one_of(_NAMES, _NAMES.map(lambda name: "." + name), _NETWORKS)), max_size=6
)


def model(patterns: list[tuple[bool, str]], name: str, address: str, parents: bool) -> bool:
    """Postfix's rule by rule."""
    for negated, pattern in patterns:
        if "/" in pattern:
            hit = ipaddress.ip_address(address) in ipaddress.ip_network(pattern)
        elif parents:
            hit = name == pattern or name.endswith("." + pattern)
        else:
            hit = name == pattern or (pattern.startswith(".") and name.endswith(pattern))
        if hit:
            return not negated
    return False


@given(_PATTERNS, _NAMES, st.integers(0, 255), st.booleans())
def test_match_list_is_the_model(patterns: list[tuple[bool, str]], name: str, octet: int, parents: bool) -> None:
    address = f"{octet}.1.2.3"
    written = [("!" if negated else "") + pattern for negated, pattern in patterns]
    hosts = HostList("x", written, ENVIRONMENT, parents=parents)
    assert hosts.match_now(name, address) is model(patterns, name, address, parents)
