"""mailq's table and postqueue -j, to the character."""

import json

import pytest

from tubepost.common.wire.showq import Entry, Waiting

from tubepost.commands.queue_listing import Json, Table


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def entry(**changes: object) -> Entry:
    fields: dict[str, object] = {
        "queue_name": "deferred",
        "queue_id": "4jYtCp30JzzJ9G",
        "arrival_time": 1795548550.5,
        "message_size": 183,
        "sender": "me@here.example",
        "recipients": (Waiting(address="a@x.example", orig_address="o@x.example"),),
    }
    return Entry(**{**fields, **changes})  # type: ignore[arg-type]


def table(*entries: Entry, long_ids: bool = True) -> list[str]:
    form = Table(long_ids=long_ids)
    lines = [line for one in entries for line in form.lines(one)]
    return [*lines, *form.end()]


def test_long_ids() -> None:
    assert table(entry()) == [
        "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------",
        "4jYtCp30JzzJ9G         183 Tue Nov 24 19:29:10 me@here.example",
        "                                               a@x.example",
        "",
        "-- 0 Kbytes in 1 Request.",
    ]


def test_short_ids() -> None:
    assert table(entry(queue_id="1A2B3C4D5E"), long_ids=False)[:3] == [
        "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------",
        "1A2B3C4D5E      183 Tue Nov 24 19:29:10  me@here.example",
        "                                         a@x.example",
    ]


def test_an_empty_queue() -> None:
    assert table() == ["Mail queue is empty"]


@pytest.mark.parametrize(
    ("queue", "expired", "mark"),
    [
        ("active", False, "*"),
        ("hold", False, "!"),
        ("deferred", True, "#"),
        ("hold", True, "!#"),
        ("maildrop", False, ""),
    ],
)
def test_marks_behind_the_id(queue: str, expired: bool, mark: str) -> None:
    line = table(entry(queue_name=queue, forced_expire=expired))[1]
    assert line.split()[0] == "4jYtCp30JzzJ9G" + mark


def test_a_reason_is_said_once_for_neighbours_and_missing_ones_are_named() -> None:
    waiting = [
        Waiting(address="a", delay_reason="busy"),
        Waiting(address="b", delay_reason="busy"),
        Waiting(address="c", delay_reason="x" * 90),
        Waiting(address="d"),
        Waiting(address="e", bounce_reason="gone"),
    ]
    lines = [line.strip() for line in table(entry(recipients=tuple(waiting)))[2:-2]]
    assert lines == ["(busy)", "a", "b", f"({'x' * 90})", "c", "(reason unavailable)", "d", "(gone)", "e"]
    reason = table(entry(recipients=tuple(waiting)))[2]
    assert reason == " " * 72 + "(busy)"


def test_sums_and_the_blank_line_between() -> None:
    lines = table(entry(message_size=1024), entry(message_size=2047))
    assert lines[3] == ""
    assert lines[-1] == "-- 2 Kbytes in 2 Requests."


def test_recipients_that_come_in_portions_are_one_message() -> None:
    more = entry(continued=True, recipients=(Waiting(address="b@x.example"),))
    lines = table(entry(), more)
    assert lines[2:4] == [" " * 47 + "a@x.example", " " * 47 + "b@x.example"]
    assert lines[-1] == "-- 0 Kbytes in 1 Request."


def test_nothing_in_an_address_or_reason_moves_the_terminal() -> None:
    waiting = Waiting(address="a\x1b[2J@x", delay_reason="no\nway\x07")
    text = "\n".join(table(entry(sender="s\r\x9b", recipients=(waiting,))))
    assert "a?[2J@x" in text
    assert "(no?way?)" in text
    assert "\x1b" not in text and "\r" not in text and "\x9b" not in text


def parse(*entries: Entry) -> list[dict[str, object]]:
    form = Json()
    text = "".join(piece for one in entries for piece in form.pieces(one)) + "".join(form.end())
    assert text.endswith("\n") or not text
    return [json.loads(line) for line in text.splitlines()]


def test_json() -> None:
    odd = entry(
        sender='"q\\"" <ü>@x',
        forced_expire=True,
        recipients=(
            Waiting(address="a", orig_address="o", delay_reason="wait"),
            Waiting(address="b", orig_address="b", bounce_reason="gone"),
            Waiting(address="c", orig_address="c"),
        ),
    )
    assert parse(odd) == [
        {
            "queue_name": "deferred",
            "queue_id": "4jYtCp30JzzJ9G",
            "arrival_time": 1795548550,
            "message_size": 183,
            "forced_expire": True,
            "sender": '"q\\"" <ü>@x',
            "recipients": [
                {"orig_address": "o", "address": "a", "delay_reason": "wait"},
                {"orig_address": "b", "address": "b", "bounce_reason": "gone"},
                {"orig_address": "c", "address": "c"},
            ],
        }
    ]


def test_json_of_portions_and_of_a_message_without_recipients() -> None:
    more = entry(continued=True, recipients=(Waiting(address="b"),))
    found = parse(entry(recipients=()), more, more, entry(recipients=()))
    assert [len(one["recipients"]) for one in found] == [2, 0]  # type: ignore[arg-type]
    assert parse() == []


def test_json_in_ascii() -> None:
    form = Json(utf8=False)
    text = "".join([*form.pieces(entry(sender="ü@x")), *form.end()])
    assert text.isascii()
    assert json.loads(text)["sender"] == "ü@x"
