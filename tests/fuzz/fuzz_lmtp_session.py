"""Fuzzes the LMTP server's machine.

The invariant: whatever a client sends, the machine raises nothing, says only well-formed replies, answers each content
once for each recipient, holds no more than a line of commands, and comes to the same replies and the same content
whether the bytes came whole or one by one.

    python -m tests.fuzz lmtp_session -max_total_time=20
"""

import re

from tests.fuzz.driver import Harness, one_by_one, transcripts
from tubepost.services.lmtpd import events
from tubepost.services.lmtpd.protocol import Machine, Settings

REPLY = re.compile(rb"(?:[2345][0-9]{2}-[^\r\n]*\r\n)*[2345][0-9]{2} [^\r\n]*\r\n")

WORDS = [
    b"LHLO c\r\n",
    b"EHLO c\r\n",
    b"MAIL FROM:<a@b.example>\r\n",
    b"MAIL FROM:<> SIZE=10 SMTPUTF8\r\n",
    b"RCPT TO:<c@d.example>\r\n",
    b"RCPT TO:<\xc3\xbc@d.example>\r\n",
    b"STARTTLS\r\n",
    b"DATA\r\n",
    b"BDAT 3\r\n",
    b"BDAT 5 LAST\r\n",
    b"BDAT 0\r\n",
    b"BDAT 0 LAST\r\n",
    b"BDAT 9999\r\n",
    b"RSET\r\n",
    b"QUIT\r\n",
    b"VRFY a\r\n",
    b".\r\n",
    b"\r\n.\r\n",
    b"\n.\n",
    b"\r",
    b"\n",
    b"\xff\x00",
    b"x" * 300,
    b"text\r\n",
]


def play(data: bytes, whole: bool, seed: int) -> tuple[bytes, bytes, bool]:
    """(replies, content, whether the session ended)."""

    machine = Machine(
        Settings(
            "mx.example",
            "mx.example LMTP",
            size_limit=400 if seed & 4 else 0,
            line_limit=256,
            recipient_limit=3,
            error_limit=20,
            policy=("normalize", "reject", "note", "no")[seed & 3],
        )
    )
    machine.tls_offered = bool(seed & 8)
    machine.greet()
    replies, content, coming = machine.output.pop(), b"", b""
    ended = False
    count = 0
    for piece in [data] if whole else one_by_one(data):
        machine.receive(piece)
        while (event := machine.next_event()) is not None:
            match event:
                case events.Content():
                    coming += event.data
                case events.Begin() | events.Lost():
                    coming = b""
                case events.Hangup():
                    ended = True
                case events.Recipient():
                    count += 1
                    if count % 5 == seed % 5:
                        machine.refuse("550 5.1.1 no")
                    else:
                        machine.accept()
                case events.End():
                    assert machine.recipients
                    content += coming
                    machine.finished(["250 2.0.0 Ok"] * len(machine.recipients))
                case events.StartTls():
                    machine.refuse("454 4.7.0 no")
        assert machine.waiting_input <= 256 + 2
        output = b"".join(machine.output)
        machine.output.clear()
        replies += output
        assert REPLY.sub(b"", output) == b"", output
    machine.time_out()
    return replies, content, ended


def check(settings: int, data: bytes) -> None:
    whole = play(data, True, settings)
    pieces = play(data, False, settings)
    assert whole == pieces, f"{whole} != {pieces}"


HARNESS = Harness(check, WORDS, transcripts("*.lmtp"))
