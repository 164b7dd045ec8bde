"""Fuzzes the SMTP client's machine with what a server may say.

The invariant: nothing raises; what we say are whole lines, and none is made of the server's words; no recipient is told
delivered without a good reply behind the whole content; the end is the same however the bytes came. It holds for LMTP
as well.

    python -m tests.fuzz smtp_client -max_total_time=20
"""

import re

from tubepost.common.wire.envelope import Envelope, Recipient

from tests.fuzz.driver import Harness, one_by_one
from tubepost.services.smtp.protocol import Conversation, Mail, Phase, Sent
from tubepost.services.smtp.server import Manner, Server

WORDS = [
    b"220 mx ESMTP\r\n", b"250 ok\r\n", b"250-mx\r\n", b"250-PIPELINING\r\n", b"250-8BITMIME\r\n", b"250 SIZE 10\r\n",
    b"250-CHUNKING\r\n250-BINARYMIME\r\n", b"250 SMTPUTF8\r\n", b"250-DSN\r\n", b"250-XFORWARD NAME ADDR\r\n",
    b"250-AUTH PLAIN LOGIN\r\n", b"250-STARTTLS\r\n", b"250-LIMITS RCPTMAX=1 MAILMAX=1\r\n", b"354 go\r\n",
    b"421 4.3.2 bye\r\n", b"450 4.2.0 later\r\n", b"452 4.5.3 enough\r\n", b"550 5.1.1 no\r\n", b"552 5.2.2 full\r\n",
    b"500 what\r\n", b"999 x\r\n", b"250", b"250-", b"-", b" ", b"\r", b"\n", b"\r\n", b"\0", b"\xff\xfe",
    b"x" * 300, b"550-5.7.1 ", b"220 2.0.0 x\r\n250 x\r\n",
]  # fmt: skip
_START = b"220 mx\r\n", b"250-mx\r\n250-SMTPUTF8\r\n250 PIPELINING\r\n"
_OURS = re.compile(
    rb"(?:EHLO me|LHLO me|HELO me|MAIL FROM:<a@b>[ A-Z0-9=;/+@.a-z-]*|RCPT TO:<u[012]@x>[ A-Z0-9=;/+@.a-z-]*"
    rb"|DATA|\.|BDAT [0-9]+(?: LAST)?|RSET|QUIT|STARTTLS)\r\n"
)


def play(pieces: list[bytes], settings: int, begin_early: bool) -> tuple[object, ...]:
    machine = Conversation(
        Server("mx", "192.0.2.1", 25), Manner("me", "me", lmtp=bool(settings & 1)), nexthop="x", watch_loops=True
    )
    people = [Recipient(address=f"u{number}@x") for number in range(3)]
    encoding = ("7bit", "8bit", "binary", "7bit")[settings >> 1 & 3]
    envelope = Envelope.model_validate({"sender": "a@b", "arrival_time": 0.0, "encoding": encoding})
    mail = Mail(envelope, "a@b", people, [person.address for person in people], 10)
    said = b""
    begun = False
    whole = False
    for piece in pieces:
        machine.feed(piece)
        said += machine.take()
        if not begun and machine.phase is Phase.READY:
            begun = True
            machine.begin(mail)
            said += machine.take()
        if settings & 8 and machine.wants_content and not whole and begin_early:
            whole = True
            machine.content_sent()
        if machine.wants_tls:
            machine.lost(False)
    if not whole:
        assert not any(isinstance(result, Sent) for result in mail.results), "sent, before the content was"
    machine.lost(False)
    assert machine.phase is Phase.CLOSED
    told = machine.failure is not None or machine.stale
    assert not begun or told or all(result is not None for result in mail.results), "a recipient is forgotten"
    assert _OURS.sub(b"", said) == b"", f"said {said!r}"
    return said, tuple(mail.results), machine.failure, machine.stale


def check(settings: int, data: bytes) -> None:
    if settings & 16:
        # A transaction is begun when the caller sees that it may be: greeting and EHLO come by themselves.
        start = list(_START)
        whole = play([*start, data], settings & ~8, False)
        pieces = play([*start, *one_by_one(data)], settings & ~8, False)
        assert whole == pieces, f"{whole} != {pieces}"
    play([data], settings, True)
    play([data[place : place + 3] for place in range(0, len(data), 3)], settings, True)


HARNESS = Harness(check, WORDS, [b"\x10250 ok\r\n550 5.1.1 no\r\n250 ok\r\n354 go\r\n250 2.0.0 taken\r\n"])
