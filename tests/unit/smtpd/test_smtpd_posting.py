"""The messages of a stand-alone session, put into maildrop."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from tubepost.common.wire.cleanup import QUEUE_ID_MARK, Deposit
from tubepost.common.wire.envelope import Envelope, Recipient
from tubepost.common.wire.postdrop import Posting
from tubepost.common.config import load
from tubepost.common.spool.queuefile import open_queue_file

from tubepost.services.smtpd import standalone
from tubepost.services.smtpd.deposit import Refused
from tubepost.services.smtpd.posting import Helper, OwnHands, Post, Sink


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("maildrop", "pid"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def build(ascii_only: bool) -> Deposit:
    return Deposit(
        envelope=Envelope(sender="a@b.test", arrival_time=1.0, encoding="7bit" if ascii_only else "8bit"),
        recipients=(Recipient(address="c@d.test"),),
        source="smtpd",
        prepend=(f"Received: by x id {QUEUE_ID_MARK}",),
    )


def post(limit: int = 1000) -> tuple[Post, list[str]]:
    woken: list[str] = []

    def make() -> Sink:
        return OwnHands(limit)

    return Post(make, build, lambda: woken.append("x")), woken


@pytest.mark.parametrize(("body", "encoding"), [(b"plain\n", "7bit"), ("\u00e4\n".encode(), "8bit")])
def test_a_message_is_one_file_with_its_id_in_its_header(spool: Path, body: bytes, encoding: str) -> None:
    message, woken = post()
    assert not message.add(b"Subject: x\n\n")
    assert not message.add(body)
    assert woken == []
    deposited = asyncio.run(message.finish())
    (path,) = (spool / "maildrop").iterdir()
    assert path.name == deposited.queue_id
    file = open_queue_file(str(path))
    received = f"Received: by x id {deposited.queue_id}\n".encode()
    assert b"".join(file.content()) == received + b"Subject: x\n\n" + body
    assert (file.envelope.sender, file.envelope.encoding) == ("a@b.test", encoding)
    assert [found[2].address for found in file.recipients()] == ["c@d.test"]
    assert woken == ["x"]


def test_nothing_stays_of_what_was_given_up_or_is_too_large(spool: Path) -> None:
    message, woken = post()
    message.add(b"x\n")
    message.cancel()
    assert not list((spool / "maildrop").iterdir())
    message, woken = post(limit=100)
    for _ in range(5):
        message.add(b"x" * 50)
    assert not list((spool / "maildrop").iterdir()), "it was known to be too large at the third piece"
    with pytest.raises(Refused) as caught:
        asyncio.run(message.finish())
    assert caught.value.reply.startswith("552 5.3.4 ")
    assert woken == []


def test_without_a_queue_the_client_keeps_its_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    message, woken = post()
    message.add(b"x\n")
    with pytest.raises(Refused) as caught:
        asyncio.run(message.finish())
    assert caught.value.reply.startswith("451 4.3.0 ") and caught.value.log
    assert woken == []


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_the_helper_is_told_all_and_names_the_message(tmp_path: Path) -> None:
    program = script(tmp_path / "postdrop", f"echo ID7; echo $* > {tmp_path}/arguments; cat > {tmp_path}/got")
    sink = Helper(program, "/conf")
    assert sink.queue_id == "ID7"
    sink.write(b"two\n")
    sink.write(b"")
    deposit = build(True)
    sink.finish(Posting(envelope=deposit.envelope, recipients=deposit.recipients))
    head, _, rest = (tmp_path / "got").read_bytes().partition(b"0\n{")
    assert head == b"4\ntwo\n"
    assert Posting.model_validate_json(b"{" + rest).recipients == deposit.recipients
    assert (tmp_path / "arguments").read_text() == "-c /conf -r\n"


@pytest.mark.parametrize("text", ["exit 1", "echo ID7; cat >/dev/null; exit 75", "echo ID7; exec <&-; exit 75"])
def test_a_helper_that_fails_defers(tmp_path: Path, text: str) -> None:
    program = script(tmp_path / "postdrop", text)
    message = Post(lambda: Helper(program, "/conf"), build, lambda: pytest.fail("it is not safe"))
    for _ in range(40):
        message.add(b"x" * 10_000)
    with pytest.raises(Refused) as caught:
        asyncio.run(message.finish())
    assert caught.value.reply.startswith("451 ")


def test_what_replaces_main_cf_is_known_to_it(tmp_path: Path) -> None:
    (tmp_path / "main.cf").write_text("myhostname = h.example.test\nsmtpd_relay_restrictions = reject\n")
    config = load(str(tmp_path), standalone.SETTINGS)
    for name, value in standalone.SETTINGS.items():
        assert config.raw(name) is not None, name
        assert value or not config.get(name), name
    assert config.smtpd_relay_restrictions == "permit_mynetworks, reject"


@pytest.mark.parametrize(
    ("address", "remote"),
    [("127.0.0.1", False), ("::1", False), ("::ffff:127.0.0.1", False), ("192.0.2.1", True), ("2001:db8::1", True)],
)
def test_only_this_host_is_served(address: str, remote: bool) -> None:
    assert standalone.is_remote(address) is remote


def test_a_socket_pair_is_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        monkeypatch.setattr(standalone, "_INPUT", ours.fileno())
        assert not standalone.client_of_network()
    read, write = os.pipe()
    monkeypatch.setattr(standalone, "_INPUT", read)
    assert not standalone.client_of_network()
    os.close(read)
    os.close(write)
