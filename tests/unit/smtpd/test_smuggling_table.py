"""SMTP smuggling: each sequence that was ever taken for an end of data, against our servers' machines.

The invariant: one message that came in one transaction stays one, for every policy but "no", however the bytes are cut;
with "no", what Postfix 3.8 took for an end is one, and nothing else. With "reject" what has a bare LF is none at all.
"""

from collections.abc import Callable

import pytest

from tests.fakes.smuggling import BARE, POLICIES, VARIANTS, has_bare_newline, lax_ends, taken
from tubepost.services.lmtpd import events as lmtp_events
from tubepost.services.lmtpd import protocol as lmtp
from tubepost.services.smtpd import events
from tubepost.services.smtpd.protocol import Machine
from tubepost.services.smtpd.settings import Settings

SECOND = b"MAIL FROM:<smuggled@evil.example>\r\nRCPT TO:<victim@b.example>\r\nDATA\r\nSubject: s\r\n\r\nx\r\n.\r\n"
Taken = tuple[list[str], bytes]
"""(senders of the messages that were taken, content of all)."""


def by_smtp(pieces: list[bytes], policy: str) -> Taken:
    machine = Machine(
        Settings(myhostname="mx.example", forbid_bare_newline=policy, forbid_unauth_pipelining=False),
        "client.example[192.0.2.9]",
    )
    machine.greet()
    senders, sender, content = list[str](), "", b""
    for piece in pieces:
        machine.receive(piece)
        while (event := machine.next_event()) is not None:
            match event:
                case events.Content():
                    content += event.data
                case events.Pause():
                    machine.resume()
                case events.Mail():
                    sender = event.sender
                    machine.accept("")
                case events.EndOfContent():
                    senders.append(sender)
                    machine.accept("QID")
                case events.Hangup():
                    return senders, content
                case events.ContentLost() | events.Reset() | events.AuthAbandoned():
                    pass
                case _:
                    machine.accept("")
    raise AssertionError("QUIT was not obeyed")


def by_lmtp(pieces: list[bytes], policy: str) -> Taken:
    machine = lmtp.Machine(lmtp.Settings("mx.example", "mx.example LMTP", policy=policy))
    machine.greet()
    senders, content = list[str](), b""
    for piece in pieces:
        machine.receive(piece)
        while (event := machine.next_event()) is not None:
            match event:
                case lmtp_events.Content():
                    content += event.data
                case lmtp_events.Recipient():
                    machine.accept()
                case lmtp_events.End():
                    senders.append(machine.sender)
                    machine.finished(["250 2.0.0 Ok"] * len(machine.recipients))
                case lmtp_events.Hangup():
                    return senders, content
                case _:
                    pass
    raise AssertionError("QUIT was not obeyed")


SERVERS: dict[str, tuple[Callable[[list[bytes], str], Taken], bytes]] = {
    "smtpd": (by_smtp, b"EHLO c.example"),
    "lmtpd": (by_lmtp, b"LHLO c.example"),
}


def stream(variant: bytes, greeting: bytes) -> bytes:
    head = b"\r\nMAIL FROM:<honest@a.example>\r\nRCPT TO:<victim@b.example>\r\nDATA\r\nSubject: x\r\n\r\nfirst"
    return greeting + head + variant + SECOND + b"QUIT\r\n"


def cuts(data: bytes, variant: bytes) -> list[list[bytes]]:
    """Whole, byte by byte, and in two at every place in and around the variant."""
    start = data.index(b"first" + variant) + 4
    ways = [[data], [data[place : place + 1] for place in range(len(data))]]
    return ways + [[data[:place], data[place:]] for place in range(start, start + len(variant) + 3)]


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", VARIANTS)
def test_by_data(name: str, policy: str, server: str) -> None:
    talk, greeting = SERVERS[server]
    data = stream(VARIANTS[name], greeting)
    count = taken(name, policy)
    seen = set()
    for pieces in cuts(data, VARIANTS[name]):
        senders, content = talk(pieces, policy)
        assert senders == ["honest@a.example", "smuggled@evil.example"][:count], pieces
        if policy != "no":
            assert content.endswith(b"Subject: s\n\nx\n"), "what was smuggled is content"
            assert b"\r" not in content
        seen.add(content)
    assert len(seen) == 1, "the cuts change the content"


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", VARIANTS)
def test_chunks_have_no_end_but_their_size(name: str, policy: str, server: str) -> None:
    talk, greeting = SERVERS[server]
    content = b"Subject: x\r\n\r\nfirst" + VARIANTS[name] + SECOND
    for body in (b"", b" BODY=BINARYMIME")[: 2 if server == "smtpd" else 1]:
        envelope = b"\r\nMAIL FROM:<honest@a.example>" + body + b"\r\nRCPT TO:<victim@b.example>\r\n"
        data = greeting + envelope + b"BDAT %d\r\n" % len(content) + content + b"BDAT 0 LAST\r\nQUIT\r\n"
        refused = policy == "reject" and not body and has_bare_newline(VARIANTS[name])
        for pieces in cuts(data, VARIANTS[name]):
            senders, got = talk(pieces, policy)
            assert senders == ([] if refused else ["honest@a.example"]), pieces
            if body:
                assert got == content
            elif not refused:
                assert got.endswith(b"Subject: s\n\nx\n.\n"), "what was smuggled is content"


def test_the_expressions_find_what_they_are_for() -> None:
    """So that the test of what we send to others cannot pass for want of a net."""
    for name in ("lf-dot-lf", "cr-dot-cr", "crlf-dot-cr", "cr-dot-crlf", "lf-dot-crcrlf", "crcr-dot-crcr"):
        assert lax_ends(b"x" + VARIANTS[name] + b"y"), name
    for name in ("nul-before-dot", "nul-behind-dot", "nuls-around-dot", "lf-dot-nul-lf", "lf-nul-dot-lf"):
        data = b"x" + VARIANTS[name] + b"y"
        assert lax_ends(data, drops=b"\0") and not lax_ends(data), name
    assert BARE.search(b"a\nb") and BARE.search(b"a\rb") and not BARE.search(b"a\r\nb")
