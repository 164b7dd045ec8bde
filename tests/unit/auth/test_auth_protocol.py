"""Which mechanism is for whom; how long wrong passwords wait."""

import pytest

from tubepost.services.auth.protocol import Abilities, Line, Penalties, is_loopback, offered

ALL = ("PLAIN", "LOGIN", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "CRAM-MD5", "APOP", "OAUTHBEARER", "EXTERNAL")
ABLE = Abilities(passwords=True, scram=True, clear=True, tokens=True)


def _line(scope: str = "imap", client: str = "192.0.2.1", tls: bool = False, **more: bool) -> Line:
    return Line(scope, client, tls, more.get("binding", False), more.get("certificate", False))


def test_no_password_goes_in_clear_but_within_this_host() -> None:
    assert offered(ALL, _line(), ABLE, plaintext=False) == ("SCRAM-SHA-256", "CRAM-MD5")
    assert offered(ALL, _line(client="127.0.0.1"), ABLE, plaintext=False)[:2] == ("PLAIN", "LOGIN")
    assert offered(ALL, _line(client="::1"), ABLE, plaintext=False)[:2] == ("PLAIN", "LOGIN")
    assert offered(ALL, _line(), ABLE, plaintext=True)[:2] == ("PLAIN", "LOGIN")
    assert "OAUTHBEARER" not in offered(ALL, _line(), ABLE, plaintext=False)


def test_what_is_offered_over_tls() -> None:
    assert offered(ALL, _line(tls=True), ABLE, plaintext=False) == (
        "PLAIN",
        "LOGIN",
        "SCRAM-SHA-256",
        "CRAM-MD5",
        "OAUTHBEARER",
    )
    assert "SCRAM-SHA-256-PLUS" in offered(ALL, _line(tls=True, binding=True), ABLE, plaintext=False)
    assert "SCRAM-SHA-256-PLUS" not in offered(ALL, _line(tls=False, binding=True), ABLE, plaintext=False)
    assert "EXTERNAL" in offered(ALL, _line(tls=True, certificate=True), ABLE, plaintext=False)
    assert "APOP" in offered(ALL, _line(scope="pop3"), ABLE, plaintext=False)


def test_nothing_is_offered_that_no_backend_can_do() -> None:
    unable = Abilities(passwords=False, scram=False, clear=False, tokens=False)
    assert offered(ALL, _line(tls=True, binding=True), unable, plaintext=True) == ()


@pytest.mark.parametrize(
    ("client", "wanted"), [("", True), ("127.9.9.9", True), ("::1", True), ("10.0.0.1", False), ("unknown", False)]
)
def test_loopback(client: str, wanted: bool) -> None:
    assert is_loopback(client) is wanted


def _fail(table: Penalties, client: str, account: str, secret: str, now: float) -> float:
    hold = table.hold(client, account, now)
    assert hold is not None
    delay = table.failed(hold, secret.encode(), now)
    table.release(hold)
    return delay


def test_each_wrong_password_waits_longer_up_to_a_limit() -> None:
    table = Penalties(2, 15, 600)
    assert [_fail(table, "192.0.2.1", "a", str(n), n) for n in range(5)] == [2, 4, 8, 15, 15]
    # The account, from elsewhere; another account, from there.
    assert _fail(table, "192.0.2.9", "a", "x", 6) == 15
    assert _fail(table, "192.0.2.1", "b", "x", 6) == 15
    assert _fail(table, "192.0.2.77", "c", "x", 6) == 2


def test_the_same_wrong_password_again_counts_once() -> None:
    table = Penalties(2, 15, 600)
    assert [_fail(table, "192.0.2.1", "a", "old", n) for n in range(5)] == [2] * 5


def test_failures_are_forgotten() -> None:
    table = Penalties(2, 15, 600)
    for n in range(5):
        _fail(table, "192.0.2.1", "a", str(n), n)
    assert _fail(table, "192.0.2.1", "a", "x", 1000) == 2
    table.forget(2000)
    assert len(table) == 0


def test_a_bounded_number_of_tries_is_under_way() -> None:
    table = Penalties(2, 15, 600)
    holds = [table.hold("192.0.2.1", f"u{n}", 0) for n in range(20)]
    assert sum(hold is not None for hold in holds) == 10
    for hold in holds:
        if hold is not None:
            table.release(hold)
    assert table.hold("192.0.2.1", "u", 1) is not None


def test_who_logged_in_before_is_not_kept_out_by_others() -> None:
    table = Penalties(2, 15, 600)
    table.succeeded("192.0.2.1", "a", 0)
    for n in range(30):
        table.hold(f"198.51.100.{n}", "a", 1)
    assert table.hold("203.0.113.1", "a", 1) is None
    assert table.hold("192.0.2.1", "a", 1) is not None


def test_a_customer_has_one_network_of_ipv6() -> None:
    table = Penalties(2, 15, 600)
    assert [_fail(table, f"2001:db8::{n:x}", f"u{n}", "x" * n, n) for n in range(1, 4)] == [2, 4, 8]


def test_users_of_this_host_do_not_slow_each_other_down() -> None:
    table = Penalties(2, 15, 600)
    assert [_fail(table, "127.0.0.1", f"u{n}", "x", n) for n in range(3)] == [2, 2, 2]


def test_the_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tubepost.services.auth.protocol._TABLE_LIMIT", 100)
    table = Penalties(2, 15, 600)
    for n in range(500):
        _fail(table, f"10.0.{n // 250}.{n % 250}", f"u{n}", "x", n / 1000)
        table.succeeded(f"10.0.0.{n}", f"u{n}", n)
    assert len(table) <= 101


def test_endless_names_take_no_endless_memory() -> None:
    table = Penalties(2, 60, 600)
    assert [_fail(table, "127.0.0.1", "a" * 60_000 + str(n), str(n), n) for n in range(3)] == [2, 4, 8]
    assert len(table) == 1
