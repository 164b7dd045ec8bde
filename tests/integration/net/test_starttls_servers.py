"""STARTTLS and STLS of the mailbox servers: what is sent in the clear behind it, by whomever, is nothing.

CVE-2011-0411 and its kin (NO STARTTLS, 2021): commands in the same packet must not be obeyed within TLS, and no reply
to them may come; a name that was given before TLS is forgotten.
"""

import contextlib
import socket
import ssl
from collections.abc import Iterator

import pytest

from tests.fakes.instance import Instance
from tests.fakes.tls import trusting

_START = {
    "imap": (b"a STARTTLS\r\n", b"b LOGOUT\r\n", b"c CAPABILITY\r\n"),
    "pop3": (b"STLS\r\n", b"QUIT\r\n", b"CAPA\r\n"),
}
_SECURE = {"imap": "imaps", "pop3": "pop3s"}


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    with Instance(services=("imap", "imaps", "pop3", "pop3s")) as made:
        yield made


@contextlib.contextmanager
def connected(instance: Instance, service: str) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", instance.ports[service]), 20) as connection:
        yield connection


def line(connection: socket.socket) -> bytes:
    got = b""
    while not got.endswith(b"\r\n"):
        data = connection.recv(1)
        assert data, f"hung up after {got!r}"
        got += data
    return got


@pytest.mark.parametrize("service", ["imap", "pop3"])
@pytest.mark.parametrize("apart", [False, True], ids=["one packet", "two packets"])
def test_what_stands_behind_starttls_is_thrown_away(instance: Instance, service: str, apart: bool) -> None:
    start, quit_, ask = _START[service]
    with connected(instance, service) as plain:
        line(plain)
        if apart:
            plain.sendall(start)
            plain.sendall(quit_)
        else:
            plain.sendall(start + quit_)
        answer = line(plain)
        assert b"OK" in answer
        # In two packets the second may be read by TLS, which then ends: nothing was obeyed either.
        try:
            secure = trusting().wrap_socket(plain)
        except (ssl.SSLError, ConnectionError):
            assert apart
            return
        secure.sendall(ask)
        first = line(secure)
        assert b"BYE" not in first and b"bye" not in first.lower()
        # The answer to what was asked within TLS comes first, and the connection is still there.
        assert (b"CAPABILITY" in first) if service == "imap" else first.startswith(b"+OK")
        secure.close()


@pytest.mark.parametrize("service", ["imap", "pop3"])
def test_within_tls_it_is_not_offered_again(instance: Instance, service: str) -> None:
    start, _, ask = _START[service]
    for secured in (True, False):
        with connected(instance, _SECURE[service] if secured else service) as plain:
            if secured:
                connection = trusting().wrap_socket(plain)
                line(connection)
            else:
                line(plain)
                plain.sendall(start)
                line(plain)
                connection = trusting().wrap_socket(plain)
            connection.sendall(ask)
            got = b""
            while not got.endswith((b".\r\n", b"completed\r\n")):
                got += connection.recv(4096)
            assert b"STARTTLS" not in got and b"STLS" not in got
            connection.sendall(start)
            assert (b" BAD " in (refused := line(connection))) or b" NO " in refused or refused.startswith(b"-ERR")
            connection.close()


def test_garbage_in_the_place_of_a_handshake_costs_nobody_else(instance: Instance) -> None:
    with connected(instance, "imaps") as broken, connected(instance, "imaps") as other:
        broken.sendall(b"\x16\x03\x01" + b"\xff" * 200)
        secure = trusting().wrap_socket(other)
        assert b"OK" in line(secure)
        secure.close()
    with connected(instance, "imap") as broken:
        line(broken)
        broken.sendall(b"a STARTTLS\r\n")
        line(broken)
        broken.sendall(b"GET / HTTP/1.1\r\n\r\n" * 50)
        with contextlib.suppress(ConnectionError):
            while broken.recv(4096):
                pass
    instance.log.wait("SSL_accept error from")


def test_a_name_given_in_the_clear_is_forgotten(instance: Instance) -> None:
    with connected(instance, "pop3") as plain:
        line(plain)
        plain.sendall(b"USER alice@example.test\r\n")
        line(plain)
        plain.sendall(b"STLS\r\n")
        assert line(plain).startswith(b"+OK")
        secure = trusting().wrap_socket(plain)
        secure.sendall(b"PASS " + instance.credentials["alice@example.test"].encode() + b"\r\n")
        # RFC 2595 4: as after the greeting.
        assert line(secure).startswith(b"-ERR")
        secure.close()
