"""UTF-8 in headers (RFC 6532) for clients that have not enabled UTF8=ACCEPT (RFC 6858, RFC 9755)."""

import email
import email.policy
import re
from email.header import decode_header, make_header
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.imap import FakeImapd, play
from tubepost.services.imapd import surrogates

MESSAGE = (
    "From: Jörg <jörg@bücher.example>, Åsa <asa@example.test>\r\n"
    "To: alice@example.test\r\n"
    "Subject: 会议 tomorrow\r\n"
    "Message-ID: <1@example.test>\r\n"
    "MIME-Version: 1.0\r\n"
    'Content-Type: multipart/mixed; boundary="b"\r\n'
    "\r\n"
    "--b\r\n"
    "Content-Type: text/plain; charset=utf-8\r\n"
    "Content-Transfer-Encoding: 8bit\r\n"
    "\r\n"
    "Grüße\r\n"
    "--b\r\n"
    'Content-Type: application/pdf; name="Prüfung.pdf"\r\n'
    'Content-Disposition: attachment; filename="Prüfung.pdf"\r\n'
    "Content-Description: Prüfung\r\n"
    "\r\n"
    "x\r\n"
    "--b\r\n"
    "Content-Type: message/rfc822\r\n"
    "\r\n"
    "Subject: würde\r\n"
    "\r\n"
    "inner\r\n"
    "--b--\r\n"
)
HEADER = re.compile(r"\{(\d+)\}\r\n")


def literal(line: str, item: str) -> str:
    """The literal behind an item's name."""
    match = HEADER.match(line, line.index(item + " ") + len(item) + 1)
    assert match, line
    return line.encode("utf-8", "surrogateescape")[len(line[: match.end()].encode("utf-8", "surrogateescape")) :][
        : int(match[1])
    ].decode("utf-8", "surrogateescape")


def test_what_an_old_client_gets(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        new = await server.log_in("alice", "UTF8=ACCEPT")
        old = await server.log_in("alice")
        size = len(MESSAGE.encode())
        await new.append("inbox", MESSAGE)
        await new.append("inbox")
        await old.ok("select inbox")
        told = await old.ok("fetch 1:2 (envelope bodystructure body)")
        assert all(line.isascii() for line in told), told
        assert '"invalid" "internationalized-address.invalid"' in told[0]
        assert '"asa" "example.test"' in told[0]
        assert '"name*" "utf-8\'\'Pr%C3%BCfung.pdf"' in told[0]
        # RFC 6858 3: which messages those were.
        assert told[-1].startswith("* OK [DOWNGRADED 1] ")
        told = await old.ok("fetch 1 body.peek[]")
        text = literal(told[0], "BODY[]")
        assert text.isascii() is False and "Grüße" in text
        parsed = email.message_from_string(text, policy=email.policy.compat32)
        assert str(make_header(decode_header(parsed["Subject"]))) == "会议 tomorrow"
        header = literal((await old.ok("fetch 1 body.peek[header]"))[0], "BODY[HEADER]")
        assert header.isascii() and text.startswith(header)
        assert literal((await old.ok("fetch 1 body.peek[text]"))[0], "BODY[TEXT]") == text[len(header) :]
        assert "würde" not in text and "Prüfung" not in text
        # All pieces together are the whole.
        pieces = "".join(
            [literal((await old.ok(f"fetch 1 body.peek[]<{n}.200>"))[0], f"BODY[]<{n}>") for n in range(0, 1400, 200)]
        )
        assert pieces == text
        for item in ("HEADER.FIELDS (SUBJECT FROM)", "HEADER.FIELDS.NOT (TO)", "2.MIME", "3.HEADER", "3"):
            told = await old.ok(f"fetch 1 body.peek[{item}]")
            assert all(line.isascii() for line in told), told
            assert told[-1].startswith("* OK [DOWNGRADED 1] ")
        assert (await old.ok("fetch 1 body.peek[1]"))[0].count("Grüße") == 1
        # RFC 6858 3: the size may be that of the message itself.
        assert await old.ok("fetch 1 rfc822.size") == [f"* 1 FETCH (RFC822.SIZE {size})"]
        # What is in ASCII is told as it is, and nothing is said.
        assert [line[:9] for line in await old.ok("fetch 2 (envelope body.peek[])")] == ["* 2 FETCH"]
        await new.ok("select inbox")
        told = await new.ok("fetch 1 (envelope body.peek[])")
        assert len(told) == 1 and literal(told[0], "BODY[]") == MESSAGE
        assert "jörg" in told[0]
        rev2 = await server.log_in("alice", "IMAP4rev2")
        await rev2.ok("select inbox")
        assert literal((await rev2.ok("fetch 1 body.peek[]"))[0], "BODY[]") == MESSAGE

    play(tmp_path, scene)


def test_bodystructure_fits_what_is_sent(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        old = await server.log_in("alice")
        await old.append("inbox", MESSAGE)
        await old.ok("select inbox")
        told = (await old.ok("fetch 1 bodystructure"))[0]
        part = literal((await old.ok("fetch 1 body.peek[3]"))[0], "BODY[3]")
        assert f'("message" "rfc822" NIL NIL NIL "7bit" {len(part)} ' in told

    play(tmp_path, scene)


def test_old_character_sets_stay_as_they_are(tmp_path: Path) -> None:
    """What such bytes mean is not known (and clients guess well)."""

    async def scene(server: FakeImapd) -> None:
        old = await server.log_in("alice")
        text = b"Subject: Gr\xfc\xdfe\r\n\r\n\xe4\r\n"
        await old.ok(b"append inbox {%d+}\r\n%b" % (len(text), text))
        await old.ok("select inbox")
        told = await old.ok("fetch 1 (envelope body.peek[] body.peek[header.fields (subject)])")
        assert len(told) == 1
        assert "Gr\udcfc\udcdfe" in told[0]

    play(tmp_path, scene)


def test_a_large_message(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        old = await server.log_in("alice")
        body = "".join(f"line {number}\r\n" for number in range(150_000))
        text = f"Subject: würde\r\nFrom: a@b.example\r\n\r\n{body}"
        await old.append("inbox", text)
        await old.ok("select inbox")
        told = await old.ok("fetch 1 (envelope body.peek[header] body.peek[header.fields (subject x-none)])")
        assert all(line.isascii() for line in told) and "DOWNGRADED 1" in told[-1]
        header = literal(told[0], "BODY[HEADER]")
        whole = literal((await old.ok("fetch 1 body.peek[]"))[0], "BODY[]")
        assert whole == header + body
        for start, count in ((0, 10), (5, 100), (len(header) - 2, 5), (len(header), 50), (2_000_000, 99), (9 << 30, 5)):
            told = await old.ok(f"fetch 1 body.peek[]<{start}.{count}>")
            assert literal(told[0], f"BODY[]<{start}>") == whole[start : start + count]
        assert literal((await old.ok("fetch 1 body.peek[text]<7.9>"))[0], "BODY[TEXT]<7>") == body[7:16]

    play(tmp_path, scene)


def test_with_uidonly_no_numbers_are_told(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        old = await server.log_in("alice", "UIDONLY")
        await old.append("inbox", MESSAGE)
        await old.ok("select inbox")
        assert len(await old.ok("uid fetch 1 envelope")) == 1

    play(tmp_path, scene)


_LINE = st.one_of(
    st.sampled_from([
        "Subject: é", "From: é <é@é>", "To: a@b, ü <c@d>", "Content-Type: multipart/mixed; boundary=x", "--x", "--x--",
        'Content-Type: message/rfc822; name="é"', "Content-Type: text/plain; charset=é", "", " é", "Received: é", "é",
    ]),
    st.text("abé:\udcff \t<>@;=\"", max_size=20),
)  # fmt: skip


@given(st.lists(_LINE, max_size=25))
def test_headers_are_ascii_whatever_comes(lines: list[str]) -> None:
    """What is UTF-8 in a header is not there any more; what a surrogate is made of, it is not made of again."""
    data = "\n".join(lines).encode("utf-8", "surrogateescape")
    made = surrogates.of_message(data)
    if made is None:
        return
    assert surrogates.of_message(made) is None
    for value in surrogates.summary(made):
        if b"\xff" not in data:
            assert value.isascii(), value


@pytest.mark.parametrize("text", ["", "Subject: x\n\n", "\n", "Subject: x\n\né\n"])
def test_nothing_to_do(text: str) -> None:
    assert surrogates.of_message(text.encode()) is None
