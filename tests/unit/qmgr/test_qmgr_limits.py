"""Limits from master.cf, and the one on all deliveries of a transport."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubepost.common.wire.envelope import Envelope, Recipient
from tubepost.common.wire.qmgr import QueuedRecipient
from tubepost.common.config import ConfigError, load

from tubepost.services.qmgr.limits import deliveries_at_once, limits_of
from tubepost.services.qmgr.message import ActiveMessage, ActiveQueue
from tubepost.services.qmgr.schedule import Entry, Limits, Transport

MASTER = """
smtp inet n - n - 7 smtpd
smtp unix - - n - 5 smtp
relay unix - - n - - smtp
many unix - - n - 4 smtp -o client_limit=25
free unix - - n - 0 smtp
own unix - - n - - smtp -o default_process_limit=3
bad unix - - n - 4 smtp -o client_limit=lots
log unix-dgram n - n - 1 log
wrong unix
"""


def test_a_master_cf_that_cannot_be_read_is_no_empty_one(tmp_path: Path) -> None:
    (tmp_path / "main.cf").write_text("")
    (tmp_path / "master.cf").mkdir()
    with pytest.raises(ConfigError, match="cannot read it"):
        deliveries_at_once(load(str(tmp_path)), str(tmp_path))


def test_maxproc_is_what_an_administrator_means_by_it(tmp_path: Path) -> None:
    (tmp_path / "main.cf").write_text("default_process_limit = 60\nclient_limit = 200\n")
    (tmp_path / "master.cf").write_text(MASTER)
    config = load(str(tmp_path))
    found = deliveries_at_once(config, str(tmp_path))
    assert found == {"smtp": 5, "relay": 60, "many": 100, "free": 0, "own": 3}
    assert limits_of(config, "smtp", found["smtp"]).deliveries == 5
    assert limits_of(config, "smtp").deliveries == 0


def _entries(transport: Transport, now: float) -> list[Entry]:
    found = []
    while (entry := transport.select(now)) is not None:
        found.append(entry)
    return found


@given(
    most=st.integers(1, 9),
    hosts=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40),
    recipients=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_all_destinations_together_keep_to_the_limit_and_none_is_forgotten(
    most: int, hosts: list[str], recipients: int
) -> None:
    transport = Transport("smtp", Limits(deliveries=most, recipients=recipients))
    for offset, host in enumerate(hosts):
        message = f"m{offset}"
        queued = QueuedRecipient(offset=offset, recipient=Recipient(address=f"r{offset}@{host}"))
        transport.add(transport.job(message, 0.0), transport.destination(host, queued.recipient.address), queued)
    done: list[int] = []
    under_way = _entries(transport, 1.0)
    while under_way:
        assert len(under_way) == transport.busy <= most
        # As many as there may be: a place that is free is used, as the windows here are wide enough.
        waiting = len(hosts) - len(done) - sum(len(entry.recipients) for entry in under_way)
        assert len(under_way) == most or not waiting or most > 5
        entry = under_way.pop(0)
        done += [queued.offset for queued in entry.recipients]
        transport.finished(entry, 1.0)
        entry.destination.succeeded()
        under_way += _entries(transport, 1.0)
    assert sorted(done) == list(range(len(hosts)))


def test_a_big_list_fills_the_memory_and_keeps_nobody_out() -> None:
    queue = ActiveQueue(message_limit=2, recipient_limit=1000, recipient_minimum=10, portion_limit=400)
    assert queue.portion == 400
    queue.recipients = 900
    assert (queue.portion, queue.room) == (100, True)
    queue.recipients = 1200
    assert (queue.portion, queue.room) == (10, True)
    for queue_id in ("a", "b"):
        queue.messages[queue_id] = ActiveMessage(queue_id, Envelope(sender="", arrival_time=0), 0, 0, 1, 0.0)
    assert not queue.room
