"""SMTP smuggling: each sequence that was ever taken for an end of data, against our servers' machines.

The invariant: one message that came in one transaction stays one, for every policy but "no", however the bytes are cut;
with "no", what Postfix 3.8 took for an end is one, and nothing else.
"""

import pytest

from tests.fakes.smuggling import BARE, LAX_ENDS, VARIANTS
from tubepost.services.lmtpd import events as lmtp_events
from tubepost.services.lmtpd import protocol as lmtp
from tubepost.services.smtpd import events
from tubepost.services.smtpd.protocol import Machine
from tubepost.services.smtpd.settings import Settings

SECOND = b"MAIL FROM:<smuggled@evil.example>\r\nRCPT TO:<victim@b.example>\r\nDATA\r\nSubject: s\r\n\r\nx\r\n.\r\n"
# What Postfix takes for the end when it looks for bare newlines nowhere: RFC 5321 4.1.1.4 forbids it.
LAX_ALLOWS = {
    "lf-dot-lf", "lf-dot-crlf", "crlf-dot-lf", "crlflf-dot-crlf", "crlflf-dot-lf", "lflf-dot-crlf", "crcrlf-dot-crcrlf",
    "crlf-dot-crcrlf", "nul-in-start",
}  # fmt: skip


def smtp(pieces: list[bytes], policy: str) -> tuple[list[str], bytes]:
    """(senders, content of all messages)."""
    machine = Machine(
        Settings(myhostname="mx.example", forbid_bare_newline=policy, forbid_unauth_pipelining=False),
        "client.example[192.0.2.9]",
    )
    machine.greet()
    senders, content = [], b""
    for piece in pieces:
        machine.receive(piece)
        while (event := machine.next_event()) is not None:
            match event:
                case events.Content():
                    content += event.data
                case events.Pause():
                    machine.resume()
                case events.Mail():
                    senders.append(event.sender)
                    machine.accept("")
                case events.Hangup():
                    return senders, content
                case events.ContentLost() | events.Reset() | events.AuthAbandoned():
                    pass
                case _:
                    machine.accept("QID")
    return senders, content


def over_lmtp(pieces: list[bytes], policy: str) -> tuple[list[str], bytes]:
    machine = lmtp.Machine(lmtp.Settings("mx.example", "mx.example LMTP", policy=policy))
    machine.greet()
    senders, content = [], b""
    for piece in pieces:
        machine.receive(piece)
        while (event := machine.next_event()) is not None:
            match event:
                case lmtp_events.Content():
                    content += event.data
                case lmtp_events.Recipient():
                    machine.accept()
                case lmtp_events.End():
                    senders.append("")
                    machine.finished(["250 2.0.0 Ok"] * len(machine.recipients))
                case lmtp_events.Hangup():
                    return senders, content
                case _:
                    pass
    return senders, content


def stream(variant: bytes, greeting: bytes = b"EHLO c.example") -> bytes:
    head = b"\r\nMAIL FROM:<honest@a.example>\r\nRCPT TO:<victim@b.example>\r\nDATA\r\nSubject: x\r\n\r\nfirst"
    return greeting + head + variant + SECOND + b"QUIT\r\n"


def cuts(data: bytes, variant: bytes) -> list[list[bytes]]:
    """Whole, byte by byte, and in two at every place in and around the variant."""
    start = data.index(b"first" + variant) + 4
    ways = [[data], [data[place : place + 1] for place in range(len(data))]]
    return ways + [[data[:place], data[place:]] for place in range(start, start + len(variant) + 3)]


@pytest.mark.parametrize("policy", ["normalize", "yes", "note", "reject"])
@pytest.mark.parametrize("name", VARIANTS)
def test_one_message_stays_one(name: str, policy: str) -> None:
    variant = VARIANTS[name]
    data = stream(variant)
    seen = set()
    for pieces in cuts(data, variant):
        senders, content = smtp(pieces, policy)
        assert senders == ["honest@a.example"], pieces
        if policy != "reject":
            assert content.endswith(b"Subject: s\n\nx\n"), "what was smuggled is content"
            assert b"\r" not in content
        seen.add(content)
    assert policy == "reject" or len(seen) == 1, "the cuts change the content"


@pytest.mark.parametrize("name", VARIANTS)
def test_no_more_than_postfix_did(name: str) -> None:
    variant = VARIANTS[name]
    data = stream(variant)
    for pieces in cuts(data, variant):
        senders, _ = smtp(pieces, "no")
        assert len(senders) == (2 if name in LAX_ALLOWS else 1), pieces


@pytest.mark.parametrize("policy", ["normalize", "yes", "note", "reject"])
@pytest.mark.parametrize("name", VARIANTS)
def test_over_lmtp(name: str, policy: str) -> None:
    variant = VARIANTS[name]
    data = stream(variant, b"LHLO c.example")
    for pieces in cuts(data, variant):
        senders, content = over_lmtp(pieces, policy)
        assert len(senders) <= 1, pieces
        assert b"\r" not in content


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("body", ["", " BODY=BINARYMIME"])
def test_chunks_have_no_end_but_their_size(name: str, body: str) -> None:
    content = b"Subject: x\r\n\r\nfirst" + VARIANTS[name] + SECOND
    data = (
        b"EHLO c.example\r\nMAIL FROM:<honest@a.example>" + body.encode() + b"\r\nRCPT TO:<victim@b.example>\r\n"
        + b"BDAT %d\r\n" % len(content) + content + b"BDAT 0 LAST\r\nQUIT\r\n"
    )  # fmt: skip
    for pieces in ([data], [data[place : place + 1] for place in range(len(data))]):
        senders, _ = smtp(pieces, "normalize")
        assert senders == ["honest@a.example"]


def test_the_expressions_find_what_they_are_for() -> None:
    """So that the test of what we send to others cannot pass for want of a net."""
    for name in ("lf-dot-lf", "cr-dot-cr", "crlf-dot-cr", "cr-dot-crlf", "nul-before-dot", "nul-in-end"):
        assert any(end.search(b"x" + VARIANTS[name] + b"y") for end in LAX_ENDS), name
    assert BARE.search(b"a\nb") and BARE.search(b"a\rb") and not BARE.search(b"a\r\nb")
