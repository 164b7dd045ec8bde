"""The end of each recipient: status filter, soft bounces, probes; and who a message came by."""

import asyncio
import os
import tempfile

import pytest

from tubepost.common.wire.delivery import Job, RecipientStatus
from tubepost.common.wire.envelope import Envelope, Recipient
from tubepost.common.wire.qmgr import QueuedRecipient
from tubepost.common.system import log
from tubepost.common.config import from_text
from tubepost.common.mailbox import Content
from tubepost.common.tables import TableEnvironment
from tubepost.common.skeleton.deliveries import Outcomes, delay, delivered_to, delivery_head, status_of

QUEUED = QueuedRecipient(offset=9, recipient=Recipient(address="a@b", original="o@p"))
JOB = Job(
    queue_id="4dKq0t2WcKz1Jx",
    transport="local",
    nexthop="b",
    envelope=Envelope(sender="s@t", arrival_time=0),
    content_offset=0,
    content_length=0,
    recipients=(QUEUED,),
    active_time=0,
)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    for name in ("info", "warning"):
        monkeypatch.setattr(log, name, found.append)
    return found


def _settle(status: RecipientStatus, table: str = "", soft: str = "no", probe: bool = False) -> RecipientStatus:
    specs = (table,) if table else ()
    outcomes = Outcomes(from_text(f"soft_bounce = {soft}\n"), specs, TableEnvironment(), "x_status_filter")
    return asyncio.run(outcomes.settle(JOB.model_copy(update={"probe": probe}), QUEUED, status, begun=1.0))


def test_the_line_that_log_tools_read(lines: list[str]) -> None:
    _settle(status_of(QUEUED, "5.1.1", "unknown", "local"))
    assert "4dKq0t2WcKz1Jx: to=<a@b>, orig_to=<o@p>, relay=local, delay=" in lines[0]
    assert lines[0].endswith("dsn=5.1.1, status=bounced (unknown)")


@pytest.mark.parametrize(
    ("before", "table", "after", "warned"),
    [
        ("5.1.1", "static:{4.1.1 wait}", ("deferred", "4.1.1", "wait"), False),
        ("4.1.1", "static:{5.1.1 no}", ("bounced", "5.1.1", "no"), False),
        ("4.1.1", "static:4.9.9", ("deferred", "4.9.9", "text"), False),
        ("5.1.1", "static:{2.1.1 fine}", ("bounced", "5.1.1", "text"), True),
        ("2.0.0", "static:{5.1.1 no}", ("sent", "2.0.0", "text"), True),
        ("2.0.0", "static:{2.1.5 yes}", ("sent", "2.1.5", "yes"), False),
        ("5.1.1", "static:nonsense", ("bounced", "5.1.1", "text"), True),
        ("5.1.1", "fail:x", ("bounced", "5.1.1", "text"), True),
        ("5.1.1", "inline:{x=y}", ("bounced", "5.1.1", "text"), False),
    ],
)
def test_the_filter(lines: list[str], before: str, table: str, after: tuple[str, str, str], warned: bool) -> None:
    found = _settle(status_of(QUEUED, before, "text", "local"), table)
    assert (found.status, found.dsn, found.text) == after
    assert (len(lines) > 1) is warned


def test_soft_bounces_wait(lines: list[str]) -> None:
    found = _settle(status_of(QUEUED, "5.1.1", "no", "local"), soft="yes")
    assert (found.status, found.dsn) == ("deferred", "4.1.1")
    assert "status=SOFTBOUNCE (no)" in lines[-1]
    assert _settle(status_of(QUEUED, "2.0.0", "ok", "local"), soft="yes").status == "sent"


def test_a_probe_is_told_of_the_address(lines: list[str]) -> None:
    found = [_settle(status_of(QUEUED, dsn, "t", "local"), probe=True).status for dsn in ("2.0.0", "4.0.0", "5.0.0")]
    assert found == ["deliverable", "deferred", "undeliverable"]
    words = [line.rpartition("status=")[2].split()[0] for line in lines]
    assert words == ["deliverable", "undeliverable", "undeliverable"]


def _delivered(data: bytes) -> frozenset[str]:
    fd, path = tempfile.mkstemp()
    os.unlink(path)
    os.write(fd, data)
    try:
        return delivered_to(Content(fd, 0, len(data)))
    finally:
        os.close(fd)


def test_who_it_came_by() -> None:
    head = b"X: y\nDelivered-To: A@B\ndelivered-to:\n c@d\nDELIVERED-TO: <e@f>\nNot-Delivered-To: g@h\n"
    assert _delivered(head + b"\nDelivered-To: body@x\n") == {"a@b", "c@d", "e@f"}
    assert _delivered(b"Subject: x\n\nDelivered-To: body@x\n") == set()
    assert _delivered(b"Delivered-To: a@b") == {"a@b"}
    assert _delivered(b"") == set()
    assert _delivered(b"X: " + b"y" * 100_000 + b"\nDelivered-To: far@x\n\n") == {"far@x"}


def test_the_head_of_a_delivery() -> None:
    assert delivery_head(JOB, QUEUED, original=True, delivered="d@e") == (
        "Return-Path: <s@t>\nX-Original-To: o@p\nDelivered-To: d@e\n"
    )
    assert delivery_head(JOB, QUEUED, original=False, delivered="") == "Return-Path: <s@t>\n"


@pytest.mark.parametrize(
    ("seconds", "digits", "text"),
    [
        (-1, 2, "0"), (0, 2, "0"), (0.001, 2, "0"), (0.014, 2, "0.01"), (0.014, 6, "0.014"), (0.126, 2, "0.13"),
        (0.96, 1, "1"), (0.04, 1, "0"), (0.4, 0, "0"), (0.999999, 2, "1"), (1.04, 2, "1"), (0.0999, 3, "0.1"),
        (0.5, 2, "0.5"), (0.996, 2, "1"), (1.0, 2, "1"), (1.26, 2, "1.3"), (9.96, 2, "10"), (12.4, 2, "12"),
        (100.4, 2, "100"), (0.6, 0, "1"), (1.26, 0, "1"), (0.0000123, 6, "0.000012"), (86400.0, 6, "86400"),
    ],
)  # fmt: skip
def test_delays_have_two_digits_that_say_something(seconds: float, digits: int, text: str) -> None:
    """As Postfix's format_tv with two significant digits."""
    assert delay(seconds, digits) == text


def test_a_status_can_be_sent_whatever_a_file_is_called() -> None:
    status = status_of(QUEUED, "5.2.0", "cannot write to /home/K\udce4sten/ä", "local")
    assert status.text == "cannot write to /home/K?sten/ä"
    assert RecipientStatus.model_validate_json(status.model_dump_json()) == status
