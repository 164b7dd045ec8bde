"""tubepost mailbox beside the running system: who has a mailbox open is told, and imports from our own imapd."""

import imaplib
import json
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.fakes.instance import Instance

ALICE, BOB = "alice@example.test", "bob@example.test"


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    with Instance(services=("imap", "imaps")) as made:
        yield made


def mailbox(instance: Instance, *words: str, text: str | None = None, status: int = 0) -> str:
    done: subprocess.CompletedProcess[str] = instance.command(
        "tubepost", "-c", str(instance.conf), "mailbox", *words, input=text
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def log_in(instance: Instance, who: str) -> imaplib.IMAP4:
    client = imaplib.IMAP4("127.0.0.1", instance.ports["imap"], 20)
    client.login(who, instance.credentials[who])
    return client


def test_an_idle_client_is_woken(instance: Instance) -> None:
    client = log_in(instance, ALICE)
    client.append("Drafts", "(\\Draft)", "", b"Subject: a\r\n\r\nx\r\n")
    client.select("INBOX")
    client.send(b"i1 IDLE\r\n")
    assert client.readline().startswith(b"+")
    started = time.monotonic()
    mailbox(instance, "copy", ALICE, "INBOX", "-f", "Drafts", "all")
    lines: list[bytes] = []
    while not any(b"EXISTS" in line for line in lines):
        lines.append(client.readline())
    assert lines[-1].strip() == b"* 1 EXISTS", lines
    assert time.monotonic() - started < 15
    mailbox(instance, "expunge", ALICE, "-f", "INBOX", "--yes", "all")
    while not any(b"EXPUNGE" in line for line in lines):
        lines.append(client.readline())
    client.send(b"DONE\r\n")
    while not client.readline().startswith(b"i1 OK"):
        pass
    client.logout()


@pytest.mark.parametrize("how", ["imap", "imaps"])
def test_import_from_ourselves(instance: Instance, how: str) -> None:
    client = log_in(instance, ALICE)
    source = f"Entw&APw-rfe {how}"
    client.create(f'"{source}"')
    client.subscribe(f'"{source}"')
    for number in range(7):
        body = b"x" * (number * 40_000)
        client.append(
            f'"{source}"',
            "(\\Seen $Label1)" if number % 2 else "",
            f'" 1-Feb-2024 10:00:{number:02d} +0100"',
            b"Subject: %d\r\nMessage-ID: <%d@x>\r\n\r\n{5}\r\n%b\r\n" % (number, number, body),
        )
    address = f"{how}://{ALICE}@127.0.0.1:{instance.ports[how]}"
    words = ("import", BOB, address, "--stdin", "--no-verify", "-f", f"Entwürfe {how}")
    password = instance.credentials[ALICE] + "\n"
    assert "refuses" in mailbox(instance, *words, text="wrong\n", status=69)
    assert "would be made, 7" in mailbox(instance, *words, "--dry-run", text=password)
    assert "7 messages brought" in mailbox(instance, *words, text=password)
    other = log_in(instance, BOB)
    other.select(f'"{source}"')
    client.select(f'"{source}"', readonly=True)
    query = "(FLAGS INTERNALDATE BODY.PEEK[])"
    ours, theirs = client.fetch("1:*", query)[1], other.fetch("1:*", query)[1]
    assert [_plain(item) for item in theirs] == [_plain(item) for item in ours]
    assert len(ours) == 14
    # Run again: what is there is not brought again, what came meanwhile is.
    client.append(f'"{source}"', "", "", b"Subject: new\r\n\r\n")
    assert "1 messages brought, 7 were there already" in mailbox(instance, *words, text=password)
    facts = json.loads(mailbox(instance, "list", BOB, "-f", f"Entwürfe {how}", "--json"))
    assert (facts[0]["messages"], facts[0]["subscribed"]) == (8, True)
    client.logout()
    other.logout()


def _plain(item: object) -> object:
    """Without \\Recent, which belongs to sessions."""
    if isinstance(item, tuple):
        return tuple(_plain(part) for part in item)
    assert isinstance(item, bytes)
    return item.replace(b" \\Recent", b"").replace(b"\\Recent", b"")


def test_a_certificate_that_nobody_knows(instance: Instance) -> None:
    address = f"imaps://{ALICE}@127.0.0.1:{instance.ports['imaps']}"
    said = mailbox(instance, "import", BOB, address, "--stdin", text="x\n", status=69)
    assert "certificate is not good" in said


def test_check_and_backup_of_a_system_that_runs(instance: Instance, tmp_path: object) -> None:
    client = log_in(instance, ALICE)
    client.select("INBOX")
    for _ in range(3):
        instance.send(ALICE)
    instance.log.wait(r"to=<alice@example.test>.*status=sent", count=3)
    mailbox(instance, "backup", "*", f"{tmp_path}/backup")
    said = json.loads(mailbox(instance, "backup", "*", f"{tmp_path}/backup", "--json"))
    assert said[0]["fresh"] == said[0]["gone"] == 0
    mailbox(instance, "check", "*", "--read")
    mailbox(instance, "reindex", ALICE)
    assert mailbox(instance, "check", ALICE) == f"{ALICE}: nothing is wrong\n"
    client.logout()


def test_an_account_that_only_auth_knows() -> None:
    """Of another backend: its mailbox is asked for, and a glob finds the built-in ones only."""
    with Instance() as instance:
        users = instance.write_table("users", "dave@example.test:{PLAIN}secret::::::\n")
        instance.set_main({"auth_backends": f"accounts passwd-file:{users}"})
        assert instance.command("tubepost", "-c", str(instance.conf), "reload").returncode == 0
        mailbox(instance, "create", "dave@example.test", "Work")
        assert (instance.mail / "example.test" / "dave" / ".Work" / "cur").is_dir()
        assert "no account matches" in mailbox(instance, "list", "erin@example.test", status=67)
        assert "dave" not in mailbox(instance, "list", "*@example.test")


def test_a_server_that_does_only_so_much_at_once() -> None:
    """RFC 9738: imapd_message_limit cuts the search, the facts and the messages into pieces."""
    with Instance(services=("imap",), main={"imapd_message_limit": "7"}) as instance:
        client = log_in(instance, ALICE)
        for number in range(45):
            client.append("INBOX", "", "", b"Message-ID: <%d@x>\r\n\r\n%d\r\n" % (number, number))
        client.logout()
        address = f"imap://{ALICE}@127.0.0.1:{instance.ports['imap']}"
        words = ("import", BOB, address, "--stdin", "--no-verify", "-f", "INBOX")
        assert "45 messages brought" in mailbox(instance, *words, text=instance.credentials[ALICE])
        assert "0 messages brought, 45" in mailbox(instance, *words, text=instance.credentials[ALICE])
        found = json.loads(mailbox(instance, "fetch", BOB, "all", "--json"))
        assert [facts["message_id"] for facts in found] == [f"<{number}@x>" for number in range(45)]
