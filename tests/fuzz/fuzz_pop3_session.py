"""Fuzzes the POP3 server's machine.

The invariant: whatever a client sends, the machine raises nothing, says only well-formed replies, holds no more than a
line of commands, removes only what was marked, and comes to the same end whether the bytes came whole or one by one.

    python -m tests.fuzz pop3_session -max_total_time=20
"""

import re

from tests.fuzz.driver import Harness, one_by_one, transcripts
from tubepost.services.pop3d import events
from tubepost.services.pop3d.maildrop import Maildrop, uidl_format
from tubepost.services.pop3d.protocol import Machine, Settings

LINE = re.compile(rb"(?:\+OK|-ERR|\+ )[^\r\n]*\r\n")

WORDS = [
    b"USER a\r\n",
    b"PASS b c\r\n",
    b"AUTH PLAIN\r\n",
    b"AUTH PLAIN AAAA\r\n",
    b"AUTH\r\n",
    b"APOP a 0123456789abcdef0123456789abcdef\r\n",
    b"*\r\n",
    b"AAAA\r\n",
    b"STLS\r\n",
    b"UTF8\r\n",
    b"LANG\r\n",
    b"LANG *\r\n",
    b"CAPA\r\n",
    b"STAT\r\n",
    b"LIST\r\n",
    b"LIST 2\r\n",
    b"UIDL\r\n",
    b"UIDL 3\r\n",
    b"RETR 1\r\n",
    b"TOP 2 1\r\n",
    b"DELE 1\r\n",
    b"DELE 2\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"QUIT\r\n",
    b"\r",
    b"\n",
    b"\xff\x00",
    b"x" * 300,
]


def play(data: bytes, whole: bool, seed: int) -> tuple[bytes, tuple[int, ...], bool]:
    """(replies, UIDs removed, whether the session ended)."""

    machine = Machine(Settings("ready", "fuzz", line_limit=256, error_limit=20))
    machine.mechanisms = ("PLAIN",) if seed & 1 else ()
    machine.timestamp = "<1.2@h>" if seed & 2 else ""
    machine.tls_offered = bool(seed & 4)
    machine.greet()
    replies = machine.take_output()
    removed: tuple[int, ...] = ()
    ended = False
    count = 0
    for piece in [data] if whole else one_by_one(data):
        machine.receive(piece)
        while (event := machine.next_event()) is not None:
            match event:
                case events.Hangup():
                    ended = True
                case events.Retrieve():
                    machine.reply("-ERR not here")
                case events.Quit():
                    assert machine.maildrop is not None
                    removed = tuple(machine.maildrop.marked())
                    machine.bye()
                case events.StartTls():
                    # What is behind it would be thrown away, and how much that is depends on how the bytes came.
                    machine.fail("no")
                case events.AuthAbandoned() | events.Full():
                    pass
                case _:
                    count += 1
                    if isinstance(event, events.Auth) and event.initial is None:
                        machine.challenge(b"")
                    elif count % 3 == seed % 3:
                        machine.fail("no", "AUTH")
                    else:
                        machine.logged_in(Maildrop((1, 2, 9), (10, 20, 30), 7, uidl_format("%u")))
        assert machine.waiting_input <= 256 + 2
        output = machine.take_output()
        replies += output
        assert output == b"" or (output.endswith(b"\r\n") and b"\n" not in output.replace(b"\r\n", b""))
        assert output == b"" or LINE.match(output)
    return replies, removed, ended


def check(settings: int, data: bytes) -> None:
    whole = play(data, True, settings)
    pieces = play(data, False, settings)
    assert whole == pieces, f"{whole} != {pieces}"
    assert not whole[1] or whole[2]


HARNESS = Harness(check, WORDS, transcripts("*.pop3"))
