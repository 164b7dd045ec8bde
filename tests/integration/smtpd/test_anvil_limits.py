"""Each rate that anvil counts, with a real smtpd of its own: the limit, who is excepted, anvil killed and silent."""

import os
import signal
import smtplib
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.fakes.instance import PATIENCE, Instance, free_port
from tests.fakes.tls import trusting

LIMIT = 3
# A client is waiting while anvil is silent for this long at most, seconds; the bus looks at deadlines once a second.
SILENCE = 2.0 + 1.0
EXCEPTED = "127.0.0.200"
Client = Callable[[int, str], int]
"""One event from an address, to a port: the code of the reply to it."""


class Session(smtplib.SMTP):
    """A connection from one address of this host. Raises SMTPConnectError with the greeting that refuses it."""

    def __init__(self, port: int, address: str) -> None:
        super().__init__("127.0.0.1", port, "client.example", PATIENCE, (address, 0))


def connect(port: int, address: str) -> int:
    try:
        with Session(port, address):
            return 220
    except smtplib.SMTPConnectError as error:
        return error.smtp_code


def recipient(port: int, address: str) -> int:
    with Session(port, address) as client:
        client.ehlo()
        client.mail("a@example.org")
        return client.rcpt("alice@example.test")[0]


def message(port: int, address: str) -> int:
    with Session(port, address) as client:
        client.ehlo()
        return client.mail("a@example.org")[0]


def authentication(port: int, address: str) -> int:
    """One that fails counts as well."""
    with Session(port, address) as client:
        client.ehlo()
        return client.docmd("AUTH", "PLAIN AG5vYm9keQB3cm9uZw==")[0]


def handshake(port: int, address: str) -> int:
    with Session(port, address) as client:
        client.ehlo()
        code = client.docmd("STARTTLS")[0]
        if code == 220:
            assert client.sock is not None
            client.sock = trusting().wrap_socket(client.sock)
            client.file = None
            assert client.ehlo()[0] == 250
        return code


# parameter, one event, the reply to it, the reply to one too many, what the log says
ROWS: dict[str, tuple[str, Client, int, int, str]] = {
    "connection": ("smtpd_client_connection_rate_limit", connect, 220, 421, "Connection rate"),
    "message": ("smtpd_client_message_rate_limit", message, 250, 450, "Message delivery request rate"),
    "recipient": ("smtpd_client_recipient_rate_limit", recipient, 250, 450, "Recipient address rate"),
    "auth": ("smtpd_client_auth_rate_limit", authentication, 535, 450, "AUTH command rate"),
    "newtls": ("smtpd_client_new_tls_session_rate_limit", handshake, 220, 454, "New TLS session rate"),
}
PORTS = {name: free_port() for name in ROWS}
OPTIONS = f"-o smtpd_client_event_limit_exceptions={EXCEPTED} -o smtpd_client_connection_count_limit=0"


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    lines = [
        f"127.0.0.1:{PORTS[name]} inet n - n - - smtpd {OPTIONS} -o {row[0]}={LIMIT}" for name, row in ROWS.items()
    ]
    main = {
        "smtpd_sasl_auth_enable": "yes",
        "smtpd_tls_auth_only": "no",
        "disable_plaintext_auth": "no",
        "auth_failure_delay": "0",
        "smtpd_error_sleep_time": "0",
        # No test lasts as long as that: what is counted is not forgotten in the middle of one.
        "anvil_rate_time_unit": "1h",
    }
    with Instance(main=main, master=lines) as made:
        yield made


def kill_anvil(instance: Instance) -> None:
    (pid,) = instance.pids("anvil")
    start = len(instance.log.lines)
    os.kill(pid, signal.SIGKILL)
    instance.log.wait(rf"process anvil\[{pid}\] was killed by signal 9", start=start)


@pytest.mark.parametrize("name", ROWS)
def test_one_too_many_is_refused(instance: Instance, name: str) -> None:
    _, event, well, refused, words = ROWS[name]
    port, start = PORTS[name], len(instance.log.lines)
    replies = [event(port, "127.0.0.11") for _ in range(LIMIT + 2)]
    assert replies == [well] * LIMIT + [refused] * 2
    instance.log.wait(
        rf"{words} limit exceeded: {LIMIT + 1} from \S+\[127\.0\.0\.11\] for service 127\.0\.0\.1:{port}", start=start
    )
    # Another client has its own count, an excepted one none at all, and other services count for themselves.
    assert event(port, "127.0.0.12") == well
    assert [event(port, EXCEPTED) for _ in range(LIMIT + 2)] == [well] * (LIMIT + 2)
    assert event(instance.port, "127.0.0.11") == well


@pytest.mark.parametrize("name", ROWS)
def test_anvil_killed_meanwhile(instance: Instance, name: str) -> None:
    """Nobody is refused for it; its successor counts from the beginning."""
    _, event, well, refused, _ = ROWS[name]
    port, address = PORTS[name], "127.0.0.21"
    assert [event(port, address) for _ in range(LIMIT + 1)] == [well] * LIMIT + [refused]
    # This session's connection was counted by the one that dies.
    with Session(port, "127.0.0.22") as held:
        kill_anvil(instance)
        assert [event(port, address) for _ in range(LIMIT + 1)] == [well] * LIMIT + [refused]
        assert held.noop()[0] == 250


def test_connections_at_one_time_after_anvil_was_killed() -> None:
    """What the old one had counted, and is over now, is not taken off from the new one's count."""
    main = {"smtpd_client_event_limit_exceptions": "", "smtpd_client_connection_count_limit": str(LIMIT)}
    with Instance(main=main) as instance:
        old = [Session(instance.port, "127.0.0.31") for _ in range(LIMIT)]
        assert connect(instance.port, "127.0.0.31") == 421
        kill_anvil(instance)
        new = [Session(instance.port, "127.0.0.31") for _ in range(LIMIT)]
        start = len(instance.log.lines)
        for client in old:
            client.close()
        instance.log.wait(r"lost connection|disconnect from", count=LIMIT, start=start)
        assert connect(instance.port, "127.0.0.31") == 421
        new.pop().quit()
        deadline = time.monotonic() + PATIENCE
        while connect(instance.port, "127.0.0.31") != 220:
            assert time.monotonic() < deadline, "who has gone is not counted any more"
        for client in new:
            client.close()


def test_a_silent_anvil_keeps_nobody_waiting(instance: Instance) -> None:
    """Stopped, it answers nobody. One client waits a little, the next ones of that process not at all."""
    (pid,) = instance.pids("anvil")
    port = PORTS["connection"]
    os.kill(pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        assert connect(port, "127.0.0.41") == 220
        assert time.monotonic() - begun < SILENCE + 1
        begun = time.monotonic()
        assert [connect(port, "127.0.0.41") for _ in range(LIMIT + 2)] == [220] * (LIMIT + 2)
        assert time.monotonic() - begun < 1
    finally:
        os.kill(pid, signal.SIGCONT)


def test_the_window_ends() -> None:
    """After anvil_rate_time_unit the same client is welcome again."""
    main = {
        "smtpd_client_event_limit_exceptions": "",
        "smtpd_client_connection_rate_limit": "1",
        "anvil_rate_time_unit": "2s",
    }
    with Instance(main=main) as instance, socket.create_connection(("127.0.0.1", instance.port), PATIENCE) as first:
        begun = time.monotonic()
        assert first.recv(100).startswith(b"220")
        assert connect(instance.port, "127.0.0.1") == 421
        while connect(instance.port, "127.0.0.1") != 220:
            assert time.monotonic() - begun < 2 + 1
            time.sleep(0.1)
        assert time.monotonic() - begun > 1
