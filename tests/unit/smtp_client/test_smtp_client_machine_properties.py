"""Invariant: whatever a server says, and however it is cut, the machine ends in the same state, raises nothing, and no
recipient is reported sent without a positive reply behind the whole content.
"""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.wire.envelope import Envelope, Recipient

from tubepost.services.smtp.protocol import Conversation, Mail, Phase, Sent
from tubepost.services.smtp.server import Manner, Server
from tubepost.services.smtp.stages import Trouble

_CODES = st.sampled_from(["220", "250", "250-", "354", "421", "450", "500", "550", "554-", "552", "999", "25", "2500"])
_LINES = st.one_of(
    st.builds(
        lambda code, text: f"{code} {text}\r\n".replace("- ", "-").encode(), _CODES, st.text("aé5.0 -", max_size=8)
    ),
    st.just(b"250-PIPELINING\r\n"),
    st.just(b"250-x\r\n250-PIPELINING\r\n250 8BITMIME\r\n"),
    st.binary(max_size=6),
)
_SPEECH = st.lists(_LINES, max_size=14).map(b"".join)


def play(speech: bytes, cuts: list[int], lmtp: bool, encoding: str) -> tuple[object, ...]:
    machine = Conversation(Server("mx", "192.0.2.1", 25), Manner("me", "me", lmtp=lmtp), nexthop="x")
    people = [Recipient(address=f"u{n}@x") for n in range(3)]
    mail = Mail(
        Envelope.model_validate({"sender": "a@b", "arrival_time": 0.0, "encoding": encoding}),
        "a@b",
        people,
        [person.address for person in people],
        10,
    )
    said = b""
    begun = False
    places = [0, *cuts, len(speech)]
    for start, end in pairwise(places):
        machine.feed(speech[start:end])
        said += machine.take()
        if machine.phase is Phase.READY and not begun:
            begun = True
            machine.begin(mail)
            said += machine.take()
        if machine.wants_content:
            # It never comes to its end here.
            assert machine.stage is not None
    machine.lost(False)
    assert machine.phase is Phase.CLOSED
    if not begun:
        assert machine.failure is not None or machine.stale
    return (said, tuple(mail.results), machine.failure, machine.stale)


@given(_SPEECH, st.booleans(), st.sampled_from(["7bit", "8bit", "binary"]))
def test_no_end_of_content_no_success(speech: bytes, lmtp: bool, encoding: str) -> None:
    said, results, *_ = play(speech, list(range(1, len(speech))), lmtp, encoding)
    assert isinstance(said, bytes)
    assert isinstance(results, tuple)
    assert not any(isinstance(result, Sent) for result in results)
    # Lines of ours are whole, and none is made of the server's words.
    assert said == b"" or said.endswith(b"\r\n")
    assert b"\xc3" not in said


@given(_SPEECH, st.data(), st.booleans())
def test_cuts_change_nothing(speech: bytes, data: st.DataObject, lmtp: bool) -> None:
    # The greeting and EHLO are taken apart from the rest, as the caller begins a transaction only then.
    start = b"220 mx\r\n", b"250-mx\r\n250 PIPELINING\r\n"
    base = len(start[0]) + len(start[1])
    whole = b"".join(start) + speech
    cuts = sorted(data.draw(st.sets(st.integers(base, len(whole)), max_size=6)))
    assert play(whole, [base], lmtp, "7bit") == play(whole, [base, *cuts], lmtp, "7bit")


def test_endless_reply_is_bounded() -> None:
    machine = Conversation(Server("mx", "192.0.2.1", 25), Manner("me", "me"))
    for _ in range(5000):
        machine.feed(b"220-" + b"x" * 1000 + b"\r\n")
        if machine.phase is Phase.CLOSED:
            break
    assert machine.phase is Phase.CLOSED
    assert machine.failure is not None
    assert machine.failure.dsn == "4.5.0"


def test_many_recipients_go_in_windows() -> None:
    machine = Conversation(Server("mx", "192.0.2.1", 25), Manner("me", "me"))
    machine.feed(b"220 mx\r\n")
    machine.feed(b"250-mx\r\n250 PIPELINING\r\n")
    machine.take()
    people = [Recipient(address=f"user{n:05d}@example.net") for n in range(2000)]
    mail = Mail(Envelope(sender="", arrival_time=0), "", people, [person.address for person in people], 10)
    machine.begin(mail)
    largest = count = 0
    while not machine.wants_content:
        data = machine.take()
        assert data, "the client waits for ever"
        largest = max(largest, len(data))
        lines = data.count(b"\r\n")
        count += lines
        machine.feed(b"250 ok\r\n" * (lines - 1) + (b"354 go\r\n" if data.endswith(b"DATA\r\n") else b"250 ok\r\n"))
    assert count == 2002
    assert largest <= 8192
    machine.content_sent()
    machine.feed(b"250 queued\r\n")
    assert all(isinstance(result, Sent) for result in mail.results)


def test_a_long_reply_is_not_told_whole() -> None:
    """Thirty kilobytes for each of a thousand recipients are more than a report may have."""
    machine = Conversation(Server("mx", "192.0.2.1", 25), Manner("me", "me"), nexthop="x")
    machine.feed(b"220 mx\r\n250-mx\r\n250 PIPELINING\r\n")
    people = [Recipient(address="a@x"), Recipient(address="b@x")]
    mail = Mail(Envelope(sender="a@b", arrival_time=0.0), "a@b", people, ["a@x", "b@x"], 10)
    machine.begin(mail)
    long = b"%b-" + b"x" * 1000 + b"\r\n"
    machine.feed(b"250 ok\r\n" + long * 30 % ((b"550",) * 30) + b"550 5.1.1 no\r\n250 ok\r\n354 go\r\n")
    machine.content_sent()
    machine.feed(long * 30 % ((b"250",) * 30) + b"250 2.1.5 ok\r\n")
    refused, sent = mail.results
    assert isinstance(refused, Trouble) and isinstance(sent, Sent)
    assert refused.dsn == "5.1.1" and sent.dsn == "2.1.5"
    assert max(len(refused.text), len(refused.diagnostic), len(sent.text)) < 4300
    assert refused.text.endswith("... (in reply to RCPT TO command)")
