"""Transcripts for the postmaster: when the server broke the protocol, what is in them, and what is not."""

import pytest

from tubepost.common.wire.envelope import Envelope, Recipient

from tubepost.services.smtp.handshake import Login, Security
from tubepost.services.smtp.protocol import Conversation, Mail
from tubepost.services.smtp.server import Manner, Server
from tubepost.services.smtp.transcript import Transcript


def talk(*replies: bytes, login: Login | None = None) -> Transcript:
    """One message to a server that says these, one after the other."""
    transcript = Transcript()
    machine = Conversation(
        Server("mx.example", "192.0.2.1", 25),
        Manner("me.example", "me.example"),
        security=Security(login=login),
        transcript=transcript,
    )
    begun = False
    for reply in replies:
        machine.take()
        machine.feed(reply)
        if machine.phase.value == "ready" and not begun:
            begun = True
            envelope = Envelope(sender="a@b.test", arrival_time=0)
            machine.begin(Mail(envelope, "a@b.test", [Recipient(address="c@d.test")], ["c@d.test"], 10))
        if machine.wants_content:
            machine.wants_content = False
            machine.content_sent()
    return transcript


HELLO = (b"220 mx\r\n", b"250 mx\r\n")


@pytest.mark.parametrize(
    ("replies", "broken"),
    [
        ((*HELLO, b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"250 done\r\n"), False),
        ((*HELLO, b"550 5.7.1 no\r\n"), False),
        ((*HELLO, b"421 4.3.2 going\r\n"), False),
        ((b"554 no\r\n",), False),
        ((*HELLO, b"502 what\r\n"), True),
        ((*HELLO, b"250 ok\r\n", b"354 what\r\n"), True),
        ((*HELLO, b"250 ok\r\n", b"555 what\r\n"), True),
        ((b"354 hello\r\n",), True),
        ((b"SSH-2.0\r\n",), True),
        ((*HELLO, b"250 ok\r\n250 ok\r\n250 ok\r\n"), True),
    ],
)
def test_what_breaks_the_protocol(replies: tuple[bytes, ...], broken: bool) -> None:
    assert ("protocol" in talk(*replies).troubles) is broken


def test_both_sides_in_order() -> None:
    lines = list(talk(b"220 mx\r\n", b"250-mx\r\n250 HELP\r\n", b"250 ok\r\n", b"250 ok\r\n", b"503 no\r\n").lines)
    assert lines == [
        "In:  220 mx",
        "Out: EHLO me.example",
        "In:  250-mx",
        "In:  250 HELP",
        "Out: MAIL FROM:<a@b.test>",
        "In:  250 ok",
        "Out: RCPT TO:<c@d.test>",
        "In:  250 ok",
        "Out: DATA",
        "In:  503 no",
    ]


@pytest.mark.parametrize("offer", [b"PLAIN", b"LOGIN"])
def test_passwords_are_not_shown(offer: bytes) -> None:
    login = Login("user", "secret-word", "nonce")
    replies = (
        b"220 mx\r\n",
        b"250-mx\r\n250 AUTH " + offer + b"\r\n",
        b"334 VXNlcm5hbWU6\r\n",
        b"334 UGFzc3dvcmQ6\r\n",
    )
    text = "\n".join(talk(*replies, b"235 ok\r\n", login=login).lines)
    assert f"Out: AUTH {offer.decode()}" in text and "(secret)" in text
    for secret in ("c2VjcmV0LXdvcmQ", "dXNlcg", "c2VjcmV0", "secret-word"):
        assert secret not in text


def test_a_talkative_server_costs_little() -> None:
    transcript = talk(*[b"220-" + b"x" * 1500 + b"\r\n"] * 900, b"220 x\r\n", b"999 y\r\n")
    assert sum(map(len, transcript.lines)) < 120_000 and len(transcript.lines) <= 200
