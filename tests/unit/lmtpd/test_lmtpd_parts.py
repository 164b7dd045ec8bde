"""The parts of lmtpd: the lines on top of a message, content on its way, hostile input."""

import asyncio
import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.mailbox.copying import read
from tubepost.common.mailbox.maildir.delivery import copy_content

from tubepost.services.lmtpd import events
from tubepost.services.lmtpd.head import delivery_head, protocol_name
from tubepost.services.lmtpd.incoming import Incoming
from tubepost.services.lmtpd.protocol import Machine, Settings


def _head(**changes: object) -> str:
    values: dict[str, object] = {
        "sender": "a@b.test",
        "recipient": "x@y.test",
        "name": "mx.b.test",
        "address": "192.0.2.1",
        "myhostname": "mail.y.test",
        "mail_name": "tubepost",
        "protocol": "LMTP",
        "session_id": "ID",
        "security": "",
        "now": 0.0,
        "offset": 0,
        "zone": "UTC",
    }
    return delivery_head(**(values | changes)).decode()  # type: ignore[arg-type]


def test_the_lines_on_top() -> None:
    assert _head() == (
        "Return-Path: <a@b.test>\n"
        "Delivered-To: x@y.test\n"
        "Received: from mx.b.test ([192.0.2.1])\n"
        "\tby mail.y.test (tubepost) with LMTP id ID\n"
        "\tfor <x@y.test>; Thu,  1 Jan 1970 00:00:00 +0000 (UTC)\n"
    )
    assert "from mx.b.test ([IPv6:2001:db8::1])\n" in _head(address="2001:db8::1")
    assert "from mx.b.test\n" in _head(address="")
    assert "\t(using TLSv1.3)\n\tby " in _head(security="TLSv1.3")
    assert "Return-Path: <>\n" in _head(sender="")


def test_protocol_names() -> None:
    names = [protocol_name(smtputf8=utf8, tls=tls) for utf8 in (False, True) for tls in (False, True)]
    assert names == ["LMTP", "LMTPS", "UTF8LMTP", "UTF8LMTPS"]


def _through(folder: Path, pieces: list[bytes]) -> tuple[bytes, bytes, bool]:
    """What a mailbox gets, by both ways; and whether it was in a file."""

    async def run() -> tuple[bytes, bytes, bool]:
        incoming = Incoming(str(folder / "box"), (-1, -1))
        for piece in pieces:
            await incoming.write(piece)
        content = await incoming.content()
        fd = os.open(folder / "out", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            copy_content(content, fd)
            copied = os.pread(fd, 1 << 24, 0)
        finally:
            os.close(fd)
        by_pieces = b"".join(read(content))
        incoming.close()
        incoming.close()
        return copied, by_pieces, content.fd >= 0

    return asyncio.run(run())


def test_small_content_stays_in_memory(tmp_path: Path) -> None:
    assert _through(tmp_path, [b"one\n", b"two\n"]) == (b"one\ntwo\n", b"one\ntwo\n", False)
    assert _through(tmp_path, []) == (b"", b"", False)
    assert not (tmp_path / "box").exists()


def test_large_content_waits_in_a_file_without_a_name(tmp_path: Path) -> None:
    pieces = [b"%d " % number * 20_000 for number in range(20)]
    whole = b"".join(pieces)
    assert _through(tmp_path, pieces) == (whole, whole, True)
    assert list((tmp_path / "box" / "tmp").iterdir()) == []


_LINES = [b"\r\n", b"LHLO x\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<a@b>\r\n", b"DATA\r\n", b"BDAT 5\r\n", b".\r\n"]


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.sampled_from(
                [
                    b"\r\n",
                    b"LHLO x\r\n",
                    b"MAIL FROM:<>\r\n",
                    b"RCPT TO:<a@b>\r\n",
                    b"DATA\r\n",
                    b"BDAT 5\r\n",
                    b".\r\n",
                ]
            ),
        )
    )
)
def test_whatever_is_sent_leaves_the_machine_whole(pieces: list[bytes]) -> None:
    machine = Machine(Settings("x", "x", size_limit=100, line_limit=60, error_limit=1000))
    for piece in pieces:
        machine.receive(piece)
        while (event := machine.next_event()) is not None:
            match event:
                case events.Recipient():
                    machine.accept()
                case events.End():
                    assert machine.recipients
                    machine.finished(["250 2.0.0 Ok"] * len(machine.recipients))
                case events.StartTls():
                    machine.refuse("454 4.7.0 no")
        assert machine.waiting_input <= 61
    assert all(line[:3].isdigit() for line in b"".join(machine.output).split(b"\r\n")[:-1])
