"""Certificates by the name that a client asks for: handshakes in memory."""

import base64
import os
import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.net import selfsigned, servernames
from tubepost.common.net.certificates import ServerCertificates, end_point, parse_chains
from tubepost.common.net.servernames import ServerNames

from tests.fakes import tls


def make_context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def chain(*names: str) -> bytes:
    return b"".join(b"".join(selfsigned.make([name])) for name in names)


def shake(server: ssl.SSLContext, name: str | None) -> tuple[ssl.SSLObject, bytes]:
    """Both sides in this process; the server's end, and the certificate that the client was shown. Raises SSLError."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    here, there = tls.shake(server, client, name=name)
    return here, there.getpeercert(binary_form=True) or b""


class Shop:
    """A server with a default certificate and some by name."""

    def __init__(self, tmp_path: Path, table: dict[str, str], files: tuple[str, ...] = ()) -> None:
        self.default = tmp_path / "default.pem"
        self.default.write_bytes(chain("default.example"))
        self.asked: list[str] = []
        self.table = table
        self.names = ServerNames(self.find, make_context, files)
        self.clock = Clock()
        self.certificates = ServerCertificates([str(self.default)], (), make_context, self.clock, names=self.names)

    def find(self, key: str) -> str | None:
        self.asked.append(key)
        if key == "broken.example":
            raise LookupError("the table is broken")
        return self.table.get(key)

    def shake(self, name: str | None) -> tuple[ssl.SSLObject, bytes]:
        context = self.certificates.context()
        assert context is not None
        return shake(context, name)


def encoded(pem: bytes) -> str:
    return base64.b64encode(pem).decode()


def leaf(pem: bytes) -> bytes:
    return parse_chains(pem, "x")[0].leaf


@pytest.fixture
def pems() -> dict[str, bytes]:
    return {"a": chain("a.example"), "wild": chain("*.b.example")}


@pytest.fixture
def shop(tmp_path: Path, pems: dict[str, bytes]) -> Shop:
    return Shop(
        tmp_path,
        {
            "a.example": encoded(pems["a"]),
            ".b.example": encoded(pems["wild"]),
            "junk.example": "*",
            "empty.example": "",
            "nokey.example": encoded(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        },
    )


def test_the_name_chooses(shop: Shop, pems: dict[str, bytes]) -> None:
    for name, shown, named in (
        ("a.example", leaf(pems["a"]), "a.example"),
        ("A.Example", leaf(pems["a"]), "a.example"),
        ("x.y.b.example", leaf(pems["wild"]), "x.y.b.example"),
        ("b.example", leaf(shop.default.read_bytes()), ""),
        (None, leaf(shop.default.read_bytes()), ""),
    ):
        connection, certificate = shop.shake(name)
        assert certificate == shown, name
        assert shop.names.named(connection) == named
        # RFC 5929 4.1: of the certificate that this client was shown.
        assert shop.certificates.binding(connection.context) == end_point(shown)
    assert ".example" in shop.asked and "" not in shop.asked


def test_who_asks_for_an_unknown_name_is_told_of_and_gets_the_default(shop: Shop) -> None:
    connection, certificate = shop.shake("c.example")
    assert certificate == leaf(shop.default.read_bytes())
    line = shop.names.complaint(connection, "x[192.0.2.1]")
    assert line == "TLS SNI c.example from x[192.0.2.1] not matched, using default chain"
    count = len(shop.asked)
    connection, certificate = shop.shake("a%s.{}.example")
    assert certificate == leaf(shop.default.read_bytes())
    assert "is no host name" in shop.names.complaint(connection, "x")
    assert len(shop.asked) == count, "what is no host name is not looked up"


@pytest.mark.parametrize("name", ["broken.example", "junk.example", "nokey.example", "empty.example"])
def test_a_table_that_cannot_tell_ends_the_handshake(shop: Shop, name: str) -> None:
    with pytest.raises(ssl.SSLError):
        shop.shake(name)
    # Only this one.
    shop.shake("a.example")


def test_one_context_for_each_chain_and_no_more_than_there_is_room(
    shop: Shop, pems: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shop.shake("x.b.example")[0].context
    assert shop.shake("y.b.example")[0].context is made
    monkeypatch.setattr(servernames, "_ROOM", 1)
    shop.shake("a.example")
    assert len(shop.names._contexts) == 1
    again = shop.shake("y.b.example")[0].context
    assert again is not made
    # A session under way may still ask for its binding.
    assert shop.names.binding(made) == shop.names.binding(again) == end_point(leaf(pems["wild"]))


def test_a_renewed_table_is_used_at_once(shop: Shop) -> None:
    shop.shake("a.example")
    new = chain("a.example")
    shop.table["a.example"] = encoded(new)
    assert shop.shake("a.example")[1] == leaf(new)


def test_a_changed_file_means_giving_way(tmp_path: Path) -> None:
    source = tmp_path / "names.db"
    source.write_bytes(b"1")
    shop = Shop(tmp_path, {}, (str(source), str(tmp_path / "later")))
    shop.clock.now += 10
    shop.certificates.context()
    assert not shop.certificates.stale
    os.utime(source, ns=(1, 1))
    shop.clock.now += 10
    assert shop.certificates.context() is not None
    assert shop.certificates.stale


@given(st.from_regex(r"[a-z0-9_-]{0,20}(\.[a-z0-9-]{0,20}){0,6}", fullmatch=True))
def test_keys_are_the_name_and_the_domains_above_it(name: str) -> None:
    found = servernames.keys(name)
    assert found[0] == name
    assert all(name.endswith(key) and key.startswith(".") for key in found[1:])
    assert list(found) == sorted(found, key=len, reverse=True)
    assert len(set(found)) == len(found)
