"""Fuzzes the SMTP server's machine.

The invariant: whatever a client sends, the machine raises nothing, says only well-formed replies, holds no more than a
line of commands, and comes to the same replies and the same content whether the bytes came whole or one by one.

    python -m tests.fuzz smtp_session -max_total_time=20

Improper pipelining is a matter of timing by nature, so it is only noted here, not punished.
"""

import re

from tests.fuzz.driver import Harness, one_by_one, transcripts
from tubepost.services.smtpd import events
from tubepost.services.smtpd.protocol import Machine
from tubepost.services.smtpd.settings import Settings

REPLY = re.compile(rb"(?:[2345][0-9]{2}-[^\r\n]*\r\n)*[2345][0-9]{2} [^\r\n]*\r\n")


WORDS = [
    b"EHLO c\r\n",
    b"HELO c\r\n",
    b"MAIL FROM:<a@b.example>\r\n",
    b"MAIL FROM:<a@b.example> BODY=BINARYMIME\r\n",
    b"RCPT TO:<c@d.example>\r\n",
    b"RCPT TO:<\xc3\xbc@d.example>\r\n",
    b"AUTH PLAIN\r\n",
    b"AUTH PLAIN AAAA\r\n",
    b"*\r\n",
    b"DATA\r\n",
    b"BDAT 3\r\n",
    b"BDAT 5 LAST\r\n",
    b"BDAT 0 LAST\r\n",
    b"BDAT 9999\r\n",
    b"RSET\r\n",
    b"QUIT\r\n",
    b"VRFY a SMTPUTF8\r\n",
    b"XCLIENT NAME=a.example ADDR=192.0.2.1\r\n",
    b"XFORWARD HELO=x+0a\r\n",
    b".\r\n",
    b"\r\n.\r\n",
    b"\n.\n",
    b"\r",
    b"\n",
    b"From x\r\n",
    b">>>",
    b" ",
    b"\xff\x00",
    b"x" * 300,
    b"text\r\n",
]


def play(data: bytes, whole: bool, seed: int) -> tuple[bytes, bytes, bool]:
    """(replies, content, whether the session ended)."""

    policy = ("normalize", "reject", "note", "no")[seed & 3]
    machine = Machine(
        Settings(
            myhostname="mx.example",
            message_size_limit=4096 if seed & 4 else 0,
            line_length_limit=256,
            forbid_bare_newline=policy,
            forbid_unauth_pipelining=False,
            hard_error_limit=50,
            soft_error_limit=20,
            strict_rfc821_envelopes=bool(seed & 8),
            recipient_limit=3,
            sasl_response_limit=256,
        ),
        "client.example[192.0.2.9]",
    )
    machine.xclient_allowed = machine.xforward_allowed = bool(seed & 16)
    machine.auth_active = bool(seed & 32)
    machine.greet()
    replies = content = b""
    ended = False
    count = 0
    for piece in [data] if whole else one_by_one(data):
        machine.receive(piece)
        while (event := machine.next_event()) is not None:
            if isinstance(event, events.Content):
                content += event.data
            elif isinstance(event, events.Pause):
                machine.resume()
            elif isinstance(event, events.ContentLost):
                # How much of it had been handed on by then is a matter of the portions.
                content = b""
            elif isinstance(event, events.Hangup):
                ended = True
            elif not isinstance(event, (events.Reset, events.AuthAbandoned)):
                count += 1
                if isinstance(event, events.Auth) and event.initial is None:
                    machine.challenge(b"who?")
                elif count % 5 == seed % 5:
                    machine.refuse("450 4.7.1 no")
                else:
                    machine.accept("QID")
        assert machine.waiting_input <= 256 + 2
        output = machine.take_output()
        replies += output
        assert REPLY.sub(b"", output) == b"", output
    machine.time_out()
    replies += machine.take_output()
    machine.statistics()
    return replies, content, ended


def check(settings: int, data: bytes) -> None:
    whole = play(data, True, settings)
    pieces = play(data, False, settings)
    assert whole == pieces, f"{whole} != {pieces}"


HARNESS = Harness(check, WORDS, transcripts("*.smtp"))
