"""The parts of pop3d: unique ids, the maildrop's marks, messages as they are sent, the lock; and hostile input."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.mailbox.maildir.exclusive import FILE, MaildropLock
from tubepost.common.mailbox.maildir.owner import Owner
from tubepost.common.mailbox.values import InUse

from tubepost.services.pop3d import events, rendering
from tubepost.services.pop3d.maildrop import Maildrop, uidl_format
from tubepost.services.pop3d.protocol import Machine, Settings


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("%08Xu%08Xv", "0000002a000000ff"),
        ("%u.%v", "42.255"),
        ("%v-%05u", "255-00042"),
        ("{%Xu}%%", "{2a}%"),
        ("UID%u", "UID42"),
    ],
)
def test_unique_ids(form: str, text: str) -> None:
    assert uidl_format(form)(42, 255) == text


@pytest.mark.parametrize("form", ["%v", "fixed", "%u%z", "%u %v", "%u%", "ü%u", "x" * 61 + "%u", "%5u"])
def test_formats_that_cannot_be_used(form: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        uidl_format(form)


def test_marks_change_the_count_and_nothing_else() -> None:
    drop = Maildrop((5, 6, 9), (10, 20, 2**40), 1, uidl_format("%u"))
    drop.delete(2)
    assert (drop.count, drop.total, len(drop)) == (2, 30, 3)
    assert list(drop.present()) == [0, 1]
    assert drop.marked() == [9]
    drop.reset()
    assert (drop.count, drop.total, drop.marked()) == (3, 30 + 2**40, [])


def _undo(reply: bytes) -> bytes:
    """What a client makes of a multi-line reply (RFC 1939 3)."""
    first, _, rest = reply.partition(b"\r\n")
    assert first.startswith(b"+OK")
    assert rest.endswith(b"\r\n.\r\n") or rest == b".\r\n"
    lines = rest[:-3].split(b"\r\n")[:-1]
    assert b"." not in lines
    return b"".join((line[1:] if line.startswith(b".") else line) + b"\n" for line in lines)


_TEXT = st.lists(st.sampled_from([b".", b"\n", b"\r\n", b"x", b"..", b"line", b"\n."])).map(b"".join)


@given(_TEXT)
def test_a_message_comes_back_as_it_was(data: bytes) -> None:
    expected = data.replace(b"\r\n", b"\n")
    if expected and not expected.endswith(b"\n"):
        expected += b"\n"
    assert _undo(rendering.whole(data, 0)) == expected
    assert _undo(b"+OK\r\n" + b"".join(rendering.pieces(data, len(data)))) == expected


def test_a_large_message_in_pieces() -> None:
    data = b"Subject: x\n\n" + b".\n" * 100_000 + b"x" * 200_000 + b"\n.end"
    assert _undo(b"+OK\r\n" + b"".join(rendering.pieces(data, len(data)))) == data + b"\n"


@given(_TEXT, st.integers(0, 8))
def test_top_is_the_header_and_so_many_lines(body: bytes, lines: int) -> None:
    header = b"A: b\nC: d\n\n"
    end = rendering.top_end(header + body, lines)
    assert (header + body)[:end] == header + b"".join(body.splitlines(keepends=True)[:lines]) or b"\r" in body
    assert end >= len(header)


def test_a_header_in_utf8_goes_out_in_ascii_to_who_did_not_ask_for_utf8() -> None:
    data = "Subject: ü\n\nü\n".encode()
    assert rendering.is_utf8_header(data)
    assert not rendering.is_utf8_header("Subject: u\n\nü\n".encode())
    assert not rendering.is_utf8_header(b"Subject: \xfc\n\n\n")
    assert _undo(b"+OK\r\n" + b"".join(rendering.pieces(data, len(data), ascii_header=True))) == (
        b"Subject: =?utf-8?Q?=C3=BC?=\n\n\xc3\xbc\n"
    )


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"", 0),
        (b"A: b", 4),
        (b"\nbody", 1),
        (b"\r\nbody", 2),
        (b"A: b\n\nx", 6),
        (b"A: b\r\n\r\nx\n\n", 8),
        (b"A: b\n\r\nx\n\n", 7),
        (b"A: b\n\nx\r\n\r\n", 6),
    ],
)
def test_where_the_header_ends(data: bytes, end: int) -> None:
    assert rendering.header_end(data) == end


def test_many_lines_are_counted_in_pieces() -> None:
    data = b"A: b\n\n" + b"\n" * 300_000
    assert rendering.top_end(data, 200_000) == 6 + 200_000
    assert rendering.top_end(data, 10**9) == len(data)


# The lock


def test_one_session_at_a_time(tmp_path: Path) -> None:
    first = MaildropLock(str(tmp_path), Owner(None))
    assert first.since_last() is None
    with pytest.raises(InUse):
        MaildropLock(str(tmp_path), Owner(None))
    first.note()
    first.release()
    first.release()
    second = MaildropLock(str(tmp_path), Owner(None))
    since = second.since_last()
    assert since is not None and 0 <= since < 60
    second.release()


def test_the_lock_is_gone_with_its_process(tmp_path: Path) -> None:
    code = (
        "import fcntl, os, sys; fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); fcntl.flock(fd, fcntl.LOCK_EX);"
        "print('has it', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-I", "-c", code, str(tmp_path / FILE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(InUse):
            MaildropLock(str(tmp_path), Owner(None))
        other.kill()
        other.wait()
    MaildropLock(str(tmp_path), Owner(None)).release()


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        MaildropLock(str(tmp_path), Owner(None))
    assert not (tmp_path / "elsewhere").exists()


# Hostile input


@given(
    st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([b"\r\n", b"USER a\r\n", b"AUTH PLAIN\r\n", b"QUIT"])))
)
def test_whatever_is_sent_is_answered_line_by_line(pieces: list[bytes]) -> None:
    machine = Machine(Settings("x", "y", line_limit=60, error_limit=1000))
    machine.mechanisms = ("PLAIN",)
    for piece in pieces:
        machine.receive(piece)
        while (event := machine.next_event()) is not None:
            if isinstance(event, events.Auth):
                machine.challenge(b"")
            elif not isinstance(event, events.Hangup | events.AuthAbandoned | events.Full):
                machine.fail("no")
        assert machine.waiting_input <= 61
    replies = machine.take_output().split(b"\r\n")[:-1]
    assert all(reply.startswith((b"+OK", b"-ERR", b"+ ")) or reply in (b"PLAIN", b".") for reply in replies)


def test_who_asks_for_much_at_once_gets_it_in_portions() -> None:
    machine = Machine(Settings("x", "y"))
    machine.logged_in(Maildrop(range(1, 10_001), range(10_000), 1, uidl_format("%08Xu%08Xv")))
    machine.receive(b"UIDL\r\n" * 50)
    times = largest = 0
    while (event := machine.next_event()) is not None:
        assert event == events.Full()
        largest = max(largest, len(machine.take_output()))
        times += 1
    assert times == 50 and largest < 300_000


def test_an_endless_line_costs_nothing() -> None:
    machine = Machine(Settings("x", "y", line_limit=100))
    for _ in range(1000):
        machine.receive(b"x" * 1000)
        assert machine.next_event() is None
        assert machine.waiting_input == 0
    machine.receive(b"\r\nQUIT\r\n")
    assert machine.next_event() == events.Hangup("")
    assert machine.take_output().count(b"-ERR") == 1
