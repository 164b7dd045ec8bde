"""Addresses to standard form, and where their mail goes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.wire.rewrite import Batch, Resolve, Resolved, Rewrite
from tubepost.common.config import load
from tubepost.common.tables import TableEnvironment
from tubepost.common.tables.maps import run_now

from tubepost.services.rewrite import hosts, tokens
from tubepost.services.rewrite.answers import Protocol
from tubepost.services.rewrite.resolving import apply_transport
from tubepost.services.rewrite.rewriting import Context, Rules, rewrite
from tubepost.services.rewrite.session import make_answers

RULES = Rules(local=Context("origin.test", "domain.test"), remote=Context("", ""))


@pytest.mark.parametrize(
    ("address", "local", "remote"),
    [
        ("", "", ""),
        ("bob", "bob@origin.test", "bob"),
        ("bob@host", "bob@host.domain.test", "bob@host"),
        ("bob@a.b", "bob@a.b", "bob@a.b"),
        ("bob@a.b.", "bob@a.b", "bob@a.b"),
        ("bob@a..", "bob@a..", "bob@a.."),
        ("a!b!c", "b!c@a.domain.test", "b!c@a"),
        ("u%d.e", "u@d.e", "u@d.e"),
        ("u%d%e.f", "u%d@e.f", "u%d@e.f"),
        ("@a,@b:u@c.d", "u@c.d", "u@c.d"),
        ("@", '""', '""'),
        ("u@", "u@", "u@"),
        ('"a b"@c.d', '"a b"@c.d', '"a b"@c.d'),
        ("x@[1.2.3.4]", "x@[1.2.3.4]", "x@[1.2.3.4]"),
        ("u@(comment)d.e", "u@d.e", "u@d.e"),
        ("Name <u@d.e>", "u@d.e", "u@d.e"),
    ],
)
def test_rewrite(address: str, local: str, remote: str) -> None:
    assert rewrite(address, RULES.local, RULES) == local
    assert rewrite(address, RULES.remote, RULES) == remote


def test_switches() -> None:
    rules = Rules(RULES.local, RULES.remote, swap_bangpath=False, percent_hack=False)
    assert rewrite("a!b", rules.local, rules) == "a!b@origin.test"
    assert rewrite("a%b", rules.local, rules) == "a%b@origin.test"


@given(st.text(alphabet='ab.@%!:,;<>()[]"\\ ', max_size=20))
def test_rewriting_settles(address: str) -> None:
    """Rewriting a rewritten address changes nothing, once operators are used up."""
    result = address
    for _ in range(30):
        again = rewrite(result, RULES.local, RULES)
        if again == result:
            return
        result = again
    raise AssertionError(address)


@given(st.text(max_size=40))
def test_tokens_lose_no_atom(address: str) -> None:
    once = tokens.external(tokens.scan(address))
    assert tokens.scan(once) == tokens.scan(address)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("a.b", True), ("a", True), ("a_b.c", True), ("", False), ("a..b", False), (".a", False), ("a.", False),
        ("-a.b", False), ("a-.b", False), ("1.2.3.4", False), ("1", False), ("a" * 63 + ".b", True),
        ("a" * 64 + ".b", False), (("a" * 60 + ".") * 5 + "b", False), ("bücher.de", True), ("a b.c", False),
        ("b\u0000.c", False), ("ä" * 63, False), ("b\u00fc.-x", False), ("a@b", False), ("\u2028.de", False),
    ],
)  # fmt: skip
def test_host_names(name: str, good: bool) -> None:
    assert hosts.is_host_name(name, True) is good
    if not name.isascii():
        assert not hosts.is_host_name(name, False)


MAIN = """
myhostname = mx.example.test
mydestination = $myhostname, localhost, example.test
inet_interfaces = 127.0.0.1
recipient_delimiter = +
virtual_alias_domains = va.test
virtual_mailbox_domains = vm.test
relay_domains = rel.test
transport_maps = inline:{ slow.test=slow:, .sub.test=:[gw]:25, { bob@vm.test = error:5.1.1 no }, local.test=local }
relocated_maps = inline:{ { gone@example.test = new@else.test } }
sender_dependent_relayhost_maps = inline:{ a@x.test=[relay.x], dunno@x.test=DUNNO }
sender_dependent_default_transport_maps = inline:{ a@t.test=tt:[h], <>=null: }
"""


def protocol(directory: Path, more: str = "") -> Protocol:
    (directory / "main.cf").write_text(MAIN + more)
    return make_answers(load(str(directory)), TableEnvironment(warn=lambda text: None))


def resolve(server: Protocol, address: str, sender: str = "s@s.test", probe: bool = False) -> Resolved:
    return run_now(server.resolved(Resolve(sender=sender, address=address, probe=probe)))


@pytest.mark.parametrize(
    ("address", "transport", "nexthop", "recipient", "kind"),
    [
        ("", "local", "mx.example.test", "MAILER-DAEMON@mx.example.test", "local"),
        ("bob", "local", "mx.example.test", "bob@mx.example.test", "local"),
        ("bob@EXAMPLE.test", "local", "mx.example.test", "bob@EXAMPLE.test", "local"),
        ('""@example.test', "local", "mx.example.test", "MAILER-DAEMON@example.test", "local"),
        ("bob%x.y@example.test", "smtp", "x.y", "bob@x.y", "default"),
        ("x.y!bob@localhost", "smtp", "x.y", "bob@x.y", "default"),
        ('"bob@x.y"@example.test', "smtp", "x.y", "bob@x.y", "default"),
        ('"b c@x.y"@example.test', "smtp", "x.y", '"b c"@x.y', "default"),
        ("q@va.test", "error", "5.1.1 User unknown in virtual alias table", "q@va.test", "virtual_alias"),
        ("q@vm.test", "virtual", "vm.test", "q@vm.test", "virtual_mailbox"),
        ("bob+e@vm.test", "error", "5.1.1 no", "bob+e@vm.test", "virtual_mailbox"),
        ("q@rel.test", "relay", "rel.test", "q@rel.test", "relay"),
        ("q@sub.rel.test", "relay", "sub.rel.test", "q@sub.rel.test", "relay"),
        ("q@slow.test", "slow", "slow.test", "q@slow.test", "default"),
        ("q@a.sub.test", "smtp", "[gw]:25", "q@a.sub.test", "default"),
        ("q@local.test", "local", "local.test", "q@local.test", "default"),
        ("q@[127.0.0.1]", "local", "mx.example.test", "q@[127.0.0.1]", "local"),
        ("q@[192.0.2.1]", "smtp", "[192.0.2.1]", "q@[192.0.2.1]", "default"),
        ("gone@example.test", "error", "5.1.6 User has moved to new@else.test", "gone@example.test", "local"),
    ],
)
def test_resolve(tmp_path: Path, address: str, transport: str, nexthop: str, recipient: str, kind: str) -> None:
    found = resolve(protocol(tmp_path), address)
    assert (found.error, found.reason) == ("", "")
    assert (found.transport, found.nexthop, found.recipient, found.address_class) == (
        transport, nexthop, recipient, kind,
    )  # fmt: skip


@pytest.mark.parametrize(
    "address",
    [
        "q@1.2.3.4",
        "q@",
        "-q@x.y",
        '"-q r"@x.y',
        '"-q"@x.y',
        "q@a..b",
        "q@[1.2.3]",
        "q@[x",
        f"q@{'a' * 64}.b",
        "q@-a.b",
        "q@a b",
    ],
)
def test_bad_syntax(tmp_path: Path, address: str) -> None:
    found = resolve(protocol(tmp_path), address)
    assert found.error == "bad_syntax"
    assert found.reason


def test_routing_operators_are_told(tmp_path: Path) -> None:
    server = protocol(tmp_path)
    assert resolve(server, "a%b@x.y").routed
    assert resolve(server, "a!b@x.y").routed
    assert resolve(server, '"a@b"@x.y').routed
    assert resolve(server, "@example.test:bob@x.y").routed
    assert not resolve(server, "a@x.y").routed
    assert not resolve(server, "a@example.test").routed


def test_next_hop_precedence(tmp_path: Path) -> None:
    server = protocol(tmp_path, "relayhost = [global]\n")
    assert resolve(server, "q@x.y").nexthop == "[global]"
    assert resolve(server, "q@x.y", "a+e@x.test").nexthop == "[relay.x]"
    assert resolve(server, "q@x.y", "dunno@x.test").nexthop == "[global]"
    assert resolve(server, "q@slow.test", "a@x.test").nexthop == "slow.test"
    found = resolve(server, "q@x.y", "a@t.test")
    assert (found.transport, found.nexthop) == ("tt", "[h]")
    assert resolve(server, "q@x.y", "").transport == "null"
    assert resolve(server, "q@vm.test", "a@x.test").nexthop == "vm.test"


def test_probes_have_their_own_routes(tmp_path: Path) -> None:
    server = protocol(tmp_path, "address_verify_relayhost = [probe]\naddress_verify_virtual_transport = vprobe\n")
    assert resolve(server, "q@x.y", probe=True).nexthop == "[probe]"
    assert resolve(server, "q@x.y").nexthop == "x.y"
    assert resolve(server, "q@vm.test", probe=True).transport == "vprobe"


def test_parameters(tmp_path: Path) -> None:
    server = protocol(
        tmp_path,
        "resolve_numeric_domain = yes\nresolve_null_domain = yes\nallow_min_user = yes\n"
        "show_user_unknown_table_name = no\n"
        "local_transport = lmtp:unix:/x\nresolve_dequoted_address = no\n",
    )
    assert resolve(server, "q@192.0.2.1").recipient == "q@[192.0.2.1]"
    assert resolve(server, "q@127.0.0.1").address_class == "local"
    assert resolve(server, "q@").recipient == "q@mx.example.test"
    assert resolve(server, "-q@x.y").error == ""
    assert resolve(server, "q@va.test").nexthop == "5.1.1 User unknown"
    assert resolve(server, "q@example.test").nexthop == "unix:/x"
    assert resolve(server, '"a@b"@example.test').recipient == '"a@b"@example.test'


def test_wildcard_and_empty_transport(tmp_path: Path) -> None:
    server = protocol(tmp_path, "transport_maps = inline:{ *=all:[x], plain.test=: }\n")
    assert resolve(server, "q@any.thing").transport == "all"
    assert resolve(server, "q@plain.test").transport == "smtp"


def test_a_table_that_fails_defers(tmp_path: Path) -> None:
    for parameter in ("transport_maps", "virtual_mailbox_domains", "mydestination", "relocated_maps"):
        server = protocol(tmp_path, f"{parameter} = fail:x\n")
        found = resolve(server, "q@x.y")
        assert found.error == "table_failure", parameter
        assert "fail:x" in found.reason


def test_domain_in_two_lists_is_warned_of_once(tmp_path: Path) -> None:
    (tmp_path / "main.cf").write_text(MAIN + "virtual_mailbox_domains = va.test, example.test\n")
    warnings: list[str] = []
    config = load(str(tmp_path))
    from tubepost.services.rewrite import session

    rules = session.make_rules(config)
    settings = session.make_settings(config, TableEnvironment(), rules)
    from dataclasses import replace

    from tubepost.services.rewrite.resolving import Resolver

    server = Protocol(rules, Resolver(replace(settings, warn=warnings.append)))
    for _ in range(3):
        resolve(server, "q@va.test")
        resolve(server, "q@example.test")
    assert sorted(warnings) == [
        "do not list domain example.test in BOTH mydestination and virtual_mailbox_domains",
        "do not list domain va.test in BOTH virtual_alias_domains and virtual_mailbox_domains",
    ]


def test_batch(tmp_path: Path) -> None:
    answers = run_now(
        protocol(tmp_path).answers(
            Batch(
                rewrites=(Rewrite(context="local", address="bob"), Rewrite(context="remote", address="bob")),
                resolves=(Resolve(sender="", address="bob"), Resolve(sender="", address="q@x.y")),
            )
        )
    )
    assert [item.address for item in answers.rewrites] == ["bob@mx.example.test", "bob"]
    assert [item.address_class for item in answers.resolves] == ["local", "default"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Protocol:
    return protocol(tmp_path_factory.mktemp("conf"))


@given(address=st.text(alphabet='ab.@%!:,;<>()[]"\\ -1', max_size=24))
def test_resolving_always_ends(shared: Protocol, address: str) -> None:
    """Whatever the address: an answer, and never a local domain left on a foreign recipient."""
    found = resolve(shared, address)
    if not found.error:
        assert found.transport
        assert found.nexthop
        assert "@" in found.recipient


def test_transport_results() -> None:
    assert apply_transport(":", "d", "smtp", "n") == ("smtp", "n")
    assert apply_transport(":x", "d", "smtp", "n") == ("smtp", "x")
    assert apply_transport("t", "d", "smtp", "n") == ("t", "d")
    assert apply_transport("t:", "d", "smtp", "n") == ("t", "d")
    assert apply_transport("t:x:25", "d", "smtp", "n") == ("t", "x:25")
    assert apply_transport("error", "d", "smtp", "n") == ("error", "Address is undeliverable")
