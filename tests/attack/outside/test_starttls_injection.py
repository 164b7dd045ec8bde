"""Commands and replies that somebody on the line put in before TLS, in SMTP, LMTP, IMAP and POP3, server and client.

After RFC 3207 4.2 and 6, RFC 2595 3.1, RFC 9051 11.1: nothing that was said in the clear counts within TLS. And no
password before TLS: not with an initial response, not by any mechanism that sends it, not by any command.
"""

import base64
import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tubepost.common.sasl.mechanisms import PLAINTEXT

from tests.fakes.instance import Instance, free_port
from tests.fakes.tls import localhost, trusting

ALICE = "alice@example.test"


class Protocol(NamedTuple):
    hello: bytes
    start: bytes
    ready: bytes
    ask: bytes
    """Asked within TLS; its answer must not be one to what was injected."""
    answers: bytes
    inside: bytes
    """What only somebody who was let in, or had a transaction, could do …"""
    refusal: tuple[bytes, ...]
    """… and how it is refused."""
    enter: bytes
    """Lets in, or begins a transaction: ``inside`` is obeyed then. Each line has one reply."""
    obeyed: bytes


PROTOCOLS = {
    "smtp": Protocol(
        b"EHLO c.example\r\n", b"STARTTLS\r\n", b"220", b"EHLO c.example\r\n", b"250",
        b"RCPT TO:<alice@example.test>\r\n", (b"503",), b"MAIL FROM:<a@example.org>\r\n", b"250",
    ),
    "lmtpd": Protocol(
        b"LHLO c.example\r\n", b"STARTTLS\r\n", b"220", b"LHLO c.example\r\n", b"250",
        b"RCPT TO:<alice@example.test>\r\n", (b"503",), b"MAIL FROM:<a@example.org>\r\n", b"250",
    ),
    "imap": Protocol(
        b"a0 NOOP\r\n", b"a1 STARTTLS\r\n", b"a1 OK", b"a2 CAPABILITY\r\n", b"* CAPABILITY", b"a3 SELECT INBOX\r\n",
        (b"a3 BAD", b"a3 NO"), b"a4 LOGIN alice@example.test %b\r\n", b"* ",
    ),
    "pop3": Protocol(
        b"CAPA\r\n", b"STLS\r\n", b"+OK", b"CAPA\r\n", b"+OK", b"STAT\r\n", (b"-ERR",),
        b"USER alice@example.test\r\nPASS %b\r\n", b"+OK",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return {"lmtpd": free_port(), "only": free_port(), "far": free_port()}


@pytest.fixture(scope="module")
def instance(ports: dict[str, int]) -> Iterator[Instance]:
    made = Instance(
        services=("submission", "imap", "pop3"),
        master=[
            f"127.0.0.1:{ports['lmtpd']} inet n n n - - lmtpd",
            f"127.0.0.1:{ports['only']} inet n - n - - smtpd -o smtpd_tls_auth_only=yes -o smtpd_sasl_auth_enable=yes",
            f"127.0.0.1:{ports['far']} inet n - n - - smtpd -o smtpd_sasl_auth_enable=yes"
            " -o smtpd_authorized_xclient_hosts=127.0.0.1",
        ],
        main={
            "smtpd_error_sleep_time": "0", "auth_failure_delay": "0", "smtpd_hard_error_limit": "1000",
            # So that tokens are offered.
            "oauth_introspection_url": "http://127.0.0.1:9/",
        },
    )  # fmt: skip
    with made:
        ports |= {"smtp": made.port, **made.ports}
        yield made


@contextlib.contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def line(connection: socket.socket) -> bytes:
    """One line; nothing when the server has hung up."""
    got = b""
    while not got.endswith(b"\n"):
        try:
            data = connection.recv(1)
        except (ConnectionError, ssl.SSLError):
            return b""
        if not data:
            return b""
        got += data
    return got


def reply(connection: socket.socket, name: str) -> bytes:
    """All lines of a reply."""
    got = line(connection)
    if name in ("smtp", "lmtpd", "submission", "only", "far"):
        while got.splitlines()[-1][3:4] == b"-":
            got += line(connection)
    return got


def injections(instance: Instance, name: str) -> dict[str, bytes]:
    """What a man on the line would want to be obeyed within TLS."""
    password = instance.credentials[ALICE]
    plain = base64.b64encode(f"\0{ALICE}\0{password}".encode())
    return {
        "smtp": {
            "transaction": b"EHLO m.example\r\nMAIL FROM:<evil@example.org>\r\n",
            "login": b"EHLO m.example\r\nAUTH PLAIN " + plain + b"\r\n",
            "half a line": b"MAIL FROM:<evil@example.org> BO",
            "line end": b"\r\n",
            "long": b"NOOP\r\n" * 2000,
        },
        "lmtpd": {
            "transaction": b"LHLO m.example\r\nMAIL FROM:<evil@example.org>\r\n",
            "half a line": b"MAIL FROM:<evil@example.org> BO",
            "line end": b"\r\n",
            "long": b"NOOP\r\n" * 2000,
        },
        "imap": {
            "login": f"x LOGIN {ALICE} {password}\r\n".encode(),
            "authenticate": b"x AUTHENTICATE PLAIN " + plain + b"\r\n",
            "half a line": b"x LOGIN ",
            "literal": b"x LOGIN {4000}\r\n",
            "literal+": b"x LOGIN {40+}\r\n",
            "line end": b"\r\n",
            "long": b"x NOOP\r\n" * 2000,
        },
        "pop3": {
            "login": f"USER {ALICE}\r\nPASS {password}\r\n".encode(),
            "auth": b"AUTH PLAIN " + plain + b"\r\n",
            "half a line": b"USER al",
            "line end": b"\r\n",
            "long": b"NOOP\r\n" * 2000,
        },
    }[name]


CASES = [
    (name, kind)
    for name, kinds in {
        "smtp": ("transaction", "login", "half a line", "line end", "long"),
        "lmtpd": ("transaction", "half a line", "line end", "long"),
        "imap": ("login", "authenticate", "half a line", "literal", "literal+", "line end", "long"),
        "pop3": ("login", "auth", "half a line", "line end", "long"),
    }.items()
    for kind in kinds
]
LOGGED_IN = r"(imapd|pop3d)\[\d+\]: .*: logged in, "
WAYS = ("one packet", "two packets", "cut within STARTTLS", "behind the reply")


def begin(plain: socket.socket, name: str, way: str, injected: bytes) -> bytes:
    """Ask for TLS, with something put in; the first line of the answer."""
    protocol = PROTOCOLS[name]
    line(plain)
    plain.sendall(protocol.hello)
    if name == "pop3":
        while line(plain) != b".\r\n":
            pass
    else:
        reply(plain, name)
    if way == "cut within STARTTLS":
        plain.sendall(protocol.start[:-3])
        plain.sendall(protocol.start[-3:] + injected)
    elif way == "one packet":
        plain.sendall(protocol.start + injected)
    else:
        plain.sendall(protocol.start)
    if way == "two packets":
        plain.sendall(injected)
    answer = line(plain)
    if way == "behind the reply":
        with contextlib.suppress(ConnectionError):
            plain.sendall(injected)
    return answer


def nothing_is_open(secure: ssl.SSLSocket, name: str) -> None:
    """The session is a new one: what is asked within TLS is answered, and nobody is let in."""
    protocol = PROTOCOLS[name]
    secure.sendall(protocol.ask)
    first = reply(secure, name) if name in ("smtp", "lmtpd") else line(secure)
    assert first.startswith(protocol.answers), first
    assert b"STARTTLS" not in first
    while name == "pop3" and line(secure) != b".\r\n":
        pass
    if name == "imap":
        assert line(secure).startswith(b"a2 OK")
    secure.sendall(protocol.inside)
    refused = line(secure)
    assert refused.startswith(protocol.refusal), refused


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("way", WAYS)
def test_without_a_meddler(instance: Instance, ports: dict[str, int], name: str, way: str) -> None:
    """The same steps with nothing put in: TLS is there, and who says within it what was put in elsewhere is let in."""
    protocol, start = PROTOCOLS[name], len(instance.log.lines)
    with connected(ports[name]) as plain:
        answer = begin(plain, name, way, b"")
        assert answer.startswith(protocol.ready), answer
        with trusting().wrap_socket(plain) as secure:
            nothing_is_open(secure, name)
            enter = protocol.enter.replace(b"%b", instance.credentials[ALICE].encode())
            secure.sendall(enter)
            for _ in range(enter.count(b"\n")):
                assert line(secure).startswith((b"250", b"a4 OK", b"+OK"))
            secure.sendall(protocol.inside)
            obeyed = line(secure)
            assert obeyed.startswith(protocol.obeyed), obeyed
    if name in ("imap", "pop3"):
        # What the other cases must not find.
        instance.log.wait(LOGGED_IN, start=start)
    if name in ("imap", "pop3"):
        # What the other cases must not find.
        instance.log.wait(LOGGED_IN, start=start)


@pytest.mark.parametrize(("name", "kind"), CASES)
@pytest.mark.parametrize("way", WAYS)
def test_commands_in_the_clear_are_never_obeyed(
    instance: Instance, ports: dict[str, int], name: str, kind: str, way: str
) -> None:
    start = len(instance.log.lines)
    secured = False
    with connected(ports[name]) as plain:
        answer = begin(plain, name, way, injections(instance, name)[kind])
        if not answer.startswith(PROTOCOLS[name].ready):
            # SMTP says that this is no way to speak to it, and hangs up.
            assert answer[:1] in (b"5", b"4", b""), answer
            assert not any(line(plain).startswith((b"250", b"235")) for _ in range(3))
        else:
            # What was put in behind the reply is read as a handshake, and is none.
            with contextlib.suppress(ssl.SSLError, ConnectionError), trusting().wrap_socket(plain) as secure:
                secured = True
                nothing_is_open(secure, name)
    said = instance.log.lines[start:]
    if way in ("one packet", "cut within STARTTLS") and kind != "long":
        # It was there when STARTTLS was read: SMTP ends there, the others forget it, and none takes it for a handshake.
        assert secured is (name != "smtp"), answer
    assert not [text for text in said if "evil@example.org" in text and "from=<" in text]
    assert not [text for text in said if "sasl_username" in text or re.search(LOGGED_IN, text)]


# -- no password before TLS ----------------------------------------------------------------------------------------


def tries(instance: Instance, mechanism: str) -> list[bytes]:
    plain = base64.b64encode(f"\0{ALICE}\0{instance.credentials[ALICE]}".encode())
    return [b"AUTH " + mechanism.encode() + b" " + plain, b"AUTH " + mechanism.encode(), b"auth\t" + mechanism.encode()]


def within_tls(port: int) -> list[bytes]:
    """Mechanisms that the same service offers there."""
    with connected(port) as plain:
        line(plain)
        for command in (b"EHLO c.example\r\n", b"STARTTLS\r\n"):
            plain.sendall(command)
            reply(plain, "smtp")
        with trusting().wrap_socket(plain) as secure:
            secure.sendall(b"EHLO c.example\r\n")
            offered = reply(secure, "smtp")
            return b" ".join(text for text in offered.split(b"\r\n") if b"AUTH" in text).split()


@pytest.mark.parametrize("service", ["submission", "only", "far"])
@pytest.mark.parametrize("mechanism", sorted(PLAINTEXT))
def test_no_password_in_the_clear(instance: Instance, ports: dict[str, int], service: str, mechanism: str) -> None:
    with connected(ports[service]) as plain:
        line(plain)
        if service == "far":
            # To this host itself a password may be said in the clear; this is another.
            plain.sendall(b"EHLO c.example\r\n")
            reply(plain, service)
            plain.sendall(b"XCLIENT ADDR=192.0.2.7 NAME=c.example\r\n")
            assert line(plain).startswith(b"220")
        plain.sendall(b"EHLO c.example\r\n")
        offered = reply(plain, service)
        assert b"STARTTLS" in offered
        words = b" ".join(text for text in offered.split(b"\r\n") if b"AUTH" in text).split()
        assert mechanism.encode() not in words, offered
        assert mechanism.encode() in within_tls(ports[service]), "it is refused for want of TLS, not of the mechanism"
        for command in tries(instance, mechanism):
            plain.sendall(command + b"\r\n")
            answer = line(plain)
            assert answer[:1] == b"5", answer
        if service != "only":
            # Nobody's right to send has come of it; "only" is asked by this host, which may.
            plain.sendall(b"MAIL FROM:<alice@example.test>\r\nRCPT TO:<user@far.example>\r\n")
            assert not (line(plain).startswith(b"250") and line(plain).startswith(b"250"))


# -- replies, to our client ----------------------------------------------------------------------------------------


class Meddler:
    """A server with somebody before it who adds replies in the clear. ``said``: commands in the clear; ``secret``:
    those within TLS. ``offers``, ``inside``: of EHLO in the clear, and within TLS."""

    def __init__(self, directory: Path, behind: bytes, offers: bytes, inside: bytes = b"") -> None:
        self._context = localhost(directory)
        self._behind = behind
        self._offers = offers
        self._inside = inside
        self.said: list[bytes] = []
        self.secret: list[bytes] = []
        self.ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        self._listener.close()
        client.settimeout(20)
        try:
            with client:
                self._converse(client)
        except (OSError, ssl.SSLError):
            pass
        finally:
            self.ended.set()

    def _converse(self, client: socket.socket) -> None:
        client.sendall(b"220 meddler ESMTP\r\n")
        self.said.append(line(client))
        client.sendall(b"250-meddler\r\n" + self._offers + b"250 HELP\r\n")
        self.said.append(line(client))
        client.sendall(b"220 go\r\n" + self._behind)
        with self._context.wrap_socket(client, server_side=True) as secure:
            while command := line(secure):
                self.secret.append(command)
                verb = command[:4].upper()
                if verb == b"EHLO":
                    secure.sendall(b"250-meddler\r\n" + self._inside + b"250 8BITMIME\r\n")
                elif verb == b"AUTH":
                    secure.sendall(b"235 welcome\r\n")
                elif verb == b"DATA":
                    secure.sendall(b"354 go\r\n")
                    while line(secure) != b".\r\n":
                        pass
                    secure.sendall(b"250 taken\r\n")
                elif verb == b"QUIT":
                    return
                else:
                    secure.sendall(b"250 ok\r\n")


BEHIND = (
    b"",
    b"250-meddler\r\n250-AUTH PLAIN LOGIN\r\n250-CHUNKING\r\n250 PIPELINING\r\n",
    b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n",
    b"250-half a rep",
    b"421 4.3.2 go away\r\n",
    b"\r\n",
    b"no reply at all\r\n250 ok\r\n",
    b"250 ok\r\nno reply at all\r\n",
    b"220 go\r\n",
)


@pytest.mark.parametrize("level", ["encrypt", "may"])
def test_replies_in_the_clear_are_not_believed(tmp_path: Path, level: str) -> None:
    offers = b"250-STARTTLS\r\n250-PIPELINING\r\n250-AUTH PLAIN LOGIN\r\n"
    meddlers = [Meddler(tmp_path, behind, offers) for behind in BEHIND]
    honest = Meddler(tmp_path, b"", b"250-STARTTLS\r\n", b"250-AUTH PLAIN LOGIN\r\n")
    meddlers.append(honest)
    made = Instance(
        main={
            "transport_maps": "texthash:$config_directory/transport",
            "smtp_tls_security_level": level,
            "smtp_sasl_auth_enable": "yes",
            "smtp_sasl_password_maps": "texthash:$config_directory/passwords",
            "smtp_sasl_security_options": "noanonymous",
        }
    )
    hosts = [f"[127.0.0.1]:{meddler.port}" for meddler in meddlers]
    made.write_table("transport", "".join(f"m{number}.example smtp:{host}\n" for number, host in enumerate(hosts)))
    made.write_table("passwords", "".join(f"{host} user:secret\n" for host in hosts))
    with made:
        for number in range(len(meddlers)):
            made.send(f"bob@m{number}.example")
        made.log.wait(r"to=<bob@m\d\.example>.* status=", count=len(meddlers))
        for meddler in meddlers:
            assert meddler.ended.wait(20)
    for meddler, behind in zip(meddlers, (*BEHIND, b""), strict=True):
        assert [command[:4] for command in meddler.said] == [b"EHLO", b"STAR"], behind
        # What came in the clear answered nothing: all was asked within TLS. AUTH and PIPELINING were promised in the
        # clear only; who promised AUTH within TLS was taken at his word.
        verbs = [command[:4] for command in meddler.secret]
        login = [b"AUTH"] if meddler is honest else []
        assert verbs == [b"EHLO", *login, b"MAIL", b"RCPT", b"DATA", b"QUIT"], behind
    assert made.log.count(r"sent more than the reply to STARTTLS: ignored") >= len(BEHIND) - 2
