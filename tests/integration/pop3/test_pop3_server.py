"""pop3d in a real instance, with Python's own client: logins, the lock, removal at QUIT and at nothing else."""

import imaplib
import os
import poplib
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.instance import PATIENCE, Instance

ALICE, BOB = "alice@example.test", "bob@example.test"


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    with Instance(services=("imap", "imaps", "pop3", "pop3s"), main={"auth_failure_delay": "0"}) as made:
        yield made


@pytest.fixture
def box(instance: Instance) -> Iterator[list[bytes]]:
    """Alice's mailbox with three messages."""
    with imaplib.IMAP4("127.0.0.1", instance.ports["imap"], timeout=PATIENCE) as imap:
        imap.login(ALICE, instance.credentials[ALICE])
        if imap.select()[1] != [b"0"]:
            imap.store("1:*", "+FLAGS", "\\Deleted")
            imap.expunge()
        messages = [b"Subject: %d\r\n\r\n.dot %d\r\n" % (number, number) for number in range(3)]
        for message in messages:
            imap.append("INBOX", "", None, message)
        yield messages


def connect(instance: Instance) -> poplib.POP3:
    return poplib.POP3("127.0.0.1", instance.ports["pop3"], timeout=PATIENCE)


def log_in(instance: Instance, user: str = ALICE) -> poplib.POP3:
    client = connect(instance)
    client.user(user)
    client.pass_(instance.credentials[user])
    return client


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_a_session(instance: Instance, box: list[bytes]) -> None:
    client = log_in(instance)
    total = sum(map(len, box))
    assert client.stat() == (3, total)
    assert client.list()[1] == [b"%d %d" % (number + 1, len(text)) for number, text in enumerate(box)]
    for number, text in enumerate(box):
        assert b"".join(line + b"\r\n" for line in client.retr(number + 1)[1]) == text
    assert client.top(1, 0)[1] == [b"Subject: 0", b""]
    ids = client.uidl()[1]
    assert len(set(ids)) == 3
    client.dele(2)
    client.quit()
    client = log_in(instance)
    kept = client.uidl()[1]
    # What stays keeps its id (RFC 1939 7).
    assert [line.split()[1] for line in kept] == [ids[0].split()[1], ids[2].split()[1]]
    client.quit()


def test_nothing_is_removed_without_quit(instance: Instance, box: list[bytes]) -> None:
    client = log_in(instance)
    client.dele(1)
    client.close()
    instance.log.wait(r"disconnected \(lost connection\), top=0 retr=0 del=0/3")
    client = log_in(instance)
    assert client.stat()[0] == 3
    # A QUIT that is cut short is none.
    client.dele(1)
    client.sock.sendall(b"QUI")
    client.close()
    instance.log.wait(r"disconnected \(lost connection\), top=0 retr=0 del=0/3", 2)
    client = log_in(instance)
    assert client.stat()[0] == 3
    client.rset()
    client.quit()


def test_a_maildrop_has_one_session(instance: Instance, box: list[bytes]) -> None:
    first = log_in(instance)
    with pytest.raises(poplib.error_proto, match=r"\[IN-USE\]"):
        log_in(instance)
    # Of another account there is one beside it.
    log_in(instance, BOB).quit()
    first.close()
    instance.log.wait(r"disconnected \(lost connection\)")
    log_in(instance).quit()


def test_the_lock_and_the_messages_survive_the_death_of_the_process(instance: Instance, box: list[bytes]) -> None:
    client = log_in(instance)
    client.dele(1)
    mark = len(instance.log.lines)
    for pid in instance.pids("pop3d"):
        os.kill(pid, signal.SIGKILL)
    instance.log.wait(r"process pop3d\[\d+\] was killed by signal 9", start=mark)
    with pytest.raises((poplib.error_proto, OSError)):
        client.noop()
    client = log_in(instance)
    assert client.stat()[0] == 3
    client.quit()


def test_killed_within_quit_it_removes_only_what_was_marked(instance: Instance) -> None:
    with imaplib.IMAP4("127.0.0.1", instance.ports["imap"], timeout=PATIENCE) as imap:
        imap.login(BOB, instance.credentials[BOB])
        for number in range(60):
            imap.append("INBOX", "", None, b"Subject: %d\r\n\r\nx\r\n" % number)
    client = log_in(instance, BOB)
    keep = {line.split()[1] for line in client.uidl()[1][1::2]}
    for number in range(1, 61, 2):
        client.dele(number)
    killers = [threading.Timer(0.001, os.kill, (pid, signal.SIGKILL)) for pid in instance.pids("pop3d")]
    for killer in killers:
        killer.start()
    try:
        client.quit()
    except (poplib.error_proto, OSError):
        pass
    for killer in killers:
        killer.join()
    client = log_in(instance, BOB)
    left = {line.split()[1] for line in client.uidl()[1]}
    assert keep <= left
    assert client.stat()[0] == len(left)
    for number in range(1, len(left) + 1):
        client.retr(number)
        client.dele(number)
    client.quit()


def test_a_removal_is_seen_by_an_imap_session(instance: Instance, box: list[bytes]) -> None:
    with imaplib.IMAP4("127.0.0.1", instance.ports["imap"], timeout=PATIENCE) as imap:
        imap.login(ALICE, instance.credentials[ALICE])
        imap.select()
        imap.send(b"a IDLE\r\n")
        assert imap.readline().startswith(b"+")
        client = log_in(instance)
        client.retr(1)
        client.dele(2)
        client.quit()
        lines = [imap.readline()]
        assert lines[0] == b"* 2 EXPUNGE\r\n"
        # Retrieved, so it is seen.
        assert imap.readline() == b"* 1 FETCH (FLAGS (\\Seen))\r\n"
        imap.send(b"DONE\r\n")
        assert imap.readline() == b"a OK IDLE completed\r\n"


def test_tls_by_stls_and_from_the_beginning(instance: Instance, box: list[bytes]) -> None:
    client = connect(instance)
    assert "STLS" in client.capa()
    client.stls(_unverified())
    capabilities = client.capa()
    assert "STLS" not in capabilities
    assert "SCRAM-SHA-256-PLUS" in capabilities["SASL"]
    client.user(ALICE)
    client.pass_(instance.credentials[ALICE])
    client.quit()
    secure = poplib.POP3_SSL("127.0.0.1", instance.ports["pop3s"], context=_unverified(), timeout=PATIENCE)
    secure.user(ALICE)
    secure.pass_(instance.credentials[ALICE])
    assert secure.stat()[0] == 3
    secure.quit()


def test_what_is_sent_behind_stls_in_the_clear_is_never_obeyed(instance: Instance) -> None:
    with socket.create_connection(("127.0.0.1", instance.ports["pop3"]), PATIENCE) as raw:
        raw.recv(1000)
        raw.sendall(b"STLS\r\nUSER injected\r\nCAPA\r\n")
        assert raw.recv(1000).startswith(b"+OK")
        with _unverified().wrap_socket(raw) as secure:
            secure.sendall(b"PASS x\r\n")
            assert secure.recv(1000) == b"-ERR Say USER first\r\n"


@pytest.mark.parametrize("door", ["pop3s", "imaps"])
def test_who_speaks_no_tls_is_left(instance: Instance, door: str) -> None:
    start = len(instance.log.lines)
    with socket.create_connection(("127.0.0.1", instance.ports[door]), PATIENCE) as raw:
        raw.sendall(b"USER alice\r\nPASS x\r\n")
        said = b""
        while data := raw.recv(1000):
            said += data
    assert b"+OK" not in said and b"* OK" not in said
    instance.log.wait(r"SSL_accept error from unknown\[127\.0\.0\.1\]", start=start)
    # The client speaks first: its first packet and the connection come together.
    raw = socket.create_connection(("127.0.0.1", instance.ports[door]), PATIENCE)
    with _unverified().wrap_socket(raw) as secure:
        assert secure.recv(1000).startswith((b"+OK", b"* OK"))


def test_wrong_passwords(instance: Instance) -> None:
    client = connect(instance)
    client.user(ALICE)
    with pytest.raises(poplib.error_proto, match=r"-ERR \[AUTH\]"):
        client.pass_("wrong")
    client.user("nobody@example.test")
    with pytest.raises(poplib.error_proto, match=r"-ERR \[AUTH\]"):
        client.pass_("wrong")
    client.user(ALICE)
    client.pass_(instance.credentials[ALICE])
    client.quit()


def test_pipelined_retrievals_come_in_order(instance: Instance, box: list[bytes]) -> None:
    client = log_in(instance)
    client.sock.sendall(b"RETR 3\r\nTOP 2 0\r\nRETR 1\r\nNOOP\r\nQUIT\r\n")
    said = client.file.read()
    order = [said.index(word) for word in (b"Subject: 2", b"Subject: 1", b"Subject: 0")]
    assert order == sorted(order)
    assert said.endswith(b".\r\n+OK\r\n+OK Bye\r\n")


def test_a_large_message_is_streamed(instance: Instance) -> None:
    text = b"Subject: large\r\n\r\n" + (b"." * 70 + b"\r\n") * 60_000
    with imaplib.IMAP4("127.0.0.1", instance.ports["imap"], timeout=PATIENCE) as imap:
        imap.login(BOB, instance.credentials[BOB])
        imap.append("INBOX", "", None, text)
    client = log_in(instance, BOB)
    number, total = client.stat()
    assert total >= len(text)
    assert b"".join(line + b"\r\n" for line in client.retr(number)[1]) == text
    assert client.top(number, 1)[1] == [b"Subject: large", b"", b"." * 70]
    client.dele(number)
    client.quit()


def test_what_was_delivered_since_the_index_was_made_is_there(instance: Instance, box: list[bytes]) -> None:
    start = len(instance.log.lines)
    instance.send(ALICE, "Subject: delivered\r\n\r\nx\r\n")
    instance.log.wait("status=sent", start=start)
    client = log_in(instance)
    assert b"Subject: delivered" in client.retr(client.stat()[0])[1]
    client.quit()


def test_a_header_in_utf8(instance: Instance, box: list[bytes]) -> None:
    start = len(instance.log.lines)
    instance.send(ALICE, "Subject: Grüße\r\n\r\nö\r\n".encode())
    instance.log.wait("status=sent", start=start)
    client = log_in(instance)
    lines = client.retr(4)[1]
    assert b"Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=" in lines and lines[-1] == "ö".encode()
    assert b"Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=" in client.top(4, 0)[1]
    client.quit()
    client = connect(instance)
    client.utf8()
    client.user(ALICE)
    client.pass_(instance.credentials[ALICE])
    answer = client.retr(4)
    assert "Subject: Grüße".encode() in answer[1]
    size: Any = client.list(4)
    assert size == b"+OK 4 %d" % answer[2]
    client.quit()


def test_an_index_that_breaks_within_a_session_costs_no_other_message(instance: Instance, box: list[bytes]) -> None:
    """A new index gives other UIDs: what QUIT is to remove is not looked for by the old ones."""
    client = log_in(instance)
    client.dele(1)
    index = instance.mail / "example.test" / "alice" / "tubepost.db"
    index.with_name("tubepost.db-wal").write_bytes(b"")
    with open(index, "r+b") as file:
        file.write(b"no database at all" * 1000)
    try:
        client.quit()
    except poplib.error_proto:
        client.close()
    client = log_in(instance)
    kept = {client.retr(number + 1)[1][0] for number in range(client.stat()[0])}
    client.quit()
    assert {b"Subject: 1", b"Subject: 2"} <= kept
