"""Which tables proxymap answers for."""

from tubepost.services.proxymap.protocol import approved, refusal


def test_only_listed_proxy_tables() -> None:
    items = (
        "proxy:hash:/etc/aliases",
        "hash:/etc/secret",
        "reject_unauth_destination",
        "proxy:regexp:{ { /a/ b } }",
        "unionmap:{proxy:hash:/u1, proxy:cidr:/u2, hash:/u3}",
        "example.test",
        "proxy:",
        "!proxy:hash:/negated",
        "xproxy:hash:/no",
    )
    assert approved(items) == {
        "hash:/etc/aliases", "regexp:{ { /a/ b } }", "hash:/u1", "cidr:/u2", "hash:/negated",
    }  # fmt: skip


def test_refusal_names_the_parameter_and_is_short() -> None:
    text = refusal("hash:" + "x" * 10_000, "proxy_read_maps")
    assert "proxy_read_maps" in text
    assert len(text) < 1000
