"""The virtual agent with real files and without other programs."""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tubepost.common.wire.delivery import Job, RecipientStatus
from tubepost.common.wire.envelope import Envelope, Recipient
from tubepost.common.wire.notify import Changed
from tubepost.common.wire.qmgr import QueuedRecipient
from tubepost.common.config import ConfigError, from_text

from tubepost.services.virtual.session import Virtual

QUEUE_ID = "4dKq0t2WcKz1Jx"
IDS = f"virtual_uid_maps = static:{os.geteuid() or 65534}\nvirtual_gid_maps = static:{os.getegid() or 65534}\n"


class Process:
    """What the agent asks of its process."""

    class birth:
        config_directory = "/"

    def __init__(self, text: str) -> None:
        self.config = from_text(text)
        self.told: list[Changed] = []

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def client(self, service: str) -> "Process":
        assert service == "notify"
        return self

    def tell(self, message: Changed) -> bool:
        self.told.append(message)
        return True


@pytest.fixture
def spool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    # Not tmp_path: the owner of the mailboxes must get to them.
    with tempfile.TemporaryDirectory(prefix="tp-") as name:
        path = Path(name)
        os.chmod(path, 0o711)
        monkeypatch.chdir(path)
        (path / "active").mkdir()
        (path / "mail").mkdir()
        os.chmod(path / "mail", 0o777)
        (path / "active" / QUEUE_ID).write_bytes(b"zzSubject: x\n\nFrom y\nbehind")
        yield path
        monkeypatch.undo()


def _deliver(spool: Path, maps: str, *addresses: str, more: str = IDS, probe: bool = False) -> list[RecipientStatus]:
    text = f"virtual_mailbox_base = {spool}/mail\nvirtual_mailbox_maps = {maps}\nvirtual_minimum_uid = 1\n{more}"
    process = Process(text)
    agent = Virtual(process)  # type: ignore[arg-type]
    job = Job(
        queue_id=QUEUE_ID,
        transport="virtual",
        nexthop="x",
        envelope=Envelope(sender="", arrival_time=0),
        content_offset=2,
        content_length=len("Subject: x\n\nFrom y\n"),
        recipients=tuple(
            QueuedRecipient(offset=number, recipient=Recipient(address=address))
            for number, address in enumerate(addresses)
        ),
        active_time=0,
        probe=probe,
    )

    async def run() -> Any:
        try:
            return await agent.deliver(job)
        finally:
            await asyncio.sleep(0)
            await agent.close()

    statuses = list(asyncio.run(run()).statuses)
    global told
    told = [(os.path.relpath(message.mailbox, spool / "mail"), message.folder) for message in process.told]
    return statuses


told: list[tuple[str, str]] = []
"""What notify was told in the last ``_deliver``."""


def test_each_recipient_has_its_own_end(spool: Path) -> None:
    maps = "inline:{a@x=a/, b@x=b, up@x=../../up}"
    statuses = _deliver(spool, maps, "a@x", "b@x", "none@x", "up@x")
    assert [(status.offset, status.dsn, status.status) for status in statuses] == [
        (0, "2.0.0", "sent"),
        (1, "2.0.0", "sent"),
        (2, "5.1.1", "bounced"),
        (3, "4.3.5", "deferred"),
    ]
    (message,) = (spool / "mail/a/new").iterdir()
    head = "Return-Path: <>\nX-Original-To: a@x\nDelivered-To: a@x\n"
    assert message.read_text() == head + "Subject: x\n\nFrom y\n"
    box = (spool / "mail/b").read_text()
    assert box.startswith("From MAILER-DAEMON  ")
    assert box.partition("\n")[2] == head.replace("a@x", "b@x") + "Subject: x\n\n>From y\n\n"
    assert not (spool.parent / "up").exists()


def test_what_goes_wrong_with_one_recipient_delivers_nothing_twice_to_others(
    spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (spool / "boxes").write_text("a@x a/\nb@x b\0c\n")
    statuses = _deliver(spool, f"texthash:{spool}/boxes", "a@x", "b@x")
    assert [status.status for status in statuses] == ["sent", "deferred"]
    real = Virtual._store

    async def store(self: Virtual, job: Job, queued: QueuedRecipient, *more: Any) -> str:
        if queued.offset == 1:
            raise ArithmeticError("a mistake of ours")
        return await real(self, job, queued, *more)

    monkeypatch.setattr(Virtual, "_store", store)
    statuses = _deliver(spool, "static:a/", "a@x", "b@x", "c@x")
    assert [status.status for status in statuses] == ["sent", "deferred", "sent"]


def test_a_probe_leaves_nothing(spool: Path) -> None:
    statuses = _deliver(spool, "inline:{a@x=a/}", "a@x", "none@x", probe=True)
    assert [status.status for status in statuses] == ["deliverable", "undeliverable"]
    assert os.listdir(spool / "mail") == []


def test_a_queue_file_that_is_gone_waits(spool: Path) -> None:
    (spool / "active" / QUEUE_ID).unlink()
    assert [status.status for status in _deliver(spool, "static:a/", "a@x")] == ["deferred"]


@pytest.mark.skipif(os.geteuid() != 0, reason="without root there is one owner")
@pytest.mark.parametrize("bad", ["", "0", "99", "-1", "x", "4294967295", "99999999999"])
def test_ids_that_must_not_be(spool: Path, bad: str) -> None:
    more = (
        f"virtual_minimum_uid = 100\nvirtual_uid_maps = {f'static:{bad}' if bad else ''}\nvirtual_gid_maps = static:5\n"
    )
    (status,) = _deliver(spool, "static:a/", "a@x", more=more)
    assert (status.dsn, status.status) == ("4.3.5", "deferred")
    assert os.listdir(spool / "mail") == []


def test_limits(spool: Path) -> None:
    more = f"{IDS}virtual_mailbox_limit = 50\nmessage_size_limit = 40\n"
    statuses = _deliver(spool, "inline:{a@x=a/, b@x=b}", "a@x", "b@x", more=more)
    assert [status.dsn for status in statuses] == ["5.2.2", "5.2.2"]
    assert (spool / "mail/b").read_bytes() == b""


def test_the_base_must_be_absolute() -> None:
    with pytest.raises(ConfigError, match="absolute"):
        Virtual(Process("virtual_mailbox_base = mail\n"))  # type: ignore[arg-type]


def test_notify_is_told_once_of_each_maildir_and_of_no_mbox(spool: Path) -> None:
    maps = "inline:{a@x=a/, again@x=a/, c@x=c/.Lists.Work/, b@x=b}"
    assert all(status.dsn == "2.0.0" for status in _deliver(spool, maps, "a@x", "again@x", "b@x", "c@x"))
    assert sorted(told) == [("a", "INBOX"), ("c", "Lists/Work")]


def test_a_mailbox_is_full_when_its_quota_is_used_up(spool: Path) -> None:
    maps = "inline:{a@x=a/, b@x=b/}"
    size = len("Return-Path: <>\nX-Original-To: a@x\nDelivered-To: a@x\nSubject: x\n\nFrom y\n")
    quotas = f"{IDS}virtual_mailbox_quota_maps = inline:{{ {{a@x = {2 * size}}}, {{b@x = 0 1}} }}\n"
    # Those of one job as well: together they would be more than there is room for.
    codes = [status.dsn for status in _deliver(spool, maps, "a@x", "a@x", "a@x", "b@x", "b@x", more=quotas)]
    assert codes == ["2.0.0", "2.0.0", "5.2.2", "2.0.0", "5.2.2"]
    assert [status.dsn for status in _deliver(spool, maps, "a@x", "b@x", more=quotas)] == ["5.2.2", "5.2.2"]
    assert told == []
    assert len(list((spool / "mail/a/new").iterdir())) == 2
    next((spool / "mail/a/new").iterdir()).unlink()
    assert [status.dsn for status in _deliver(spool, maps, "a@x", more=quotas)] == ["2.0.0"]


def test_a_quota_that_is_none_defers(spool: Path) -> None:
    (status,) = _deliver(spool, "inline:{a@x=a/}", "a@x", more=f"{IDS}virtual_mailbox_quota_maps = inline:{{a@x=much}}")
    assert status.dsn == "4.3.5"
