"""Header and body checks: every action, in header, MIME parts, nested messages and body; whole or in pieces."""

from typing import Any

import pytest

from tubepost.common.mail import header
from tubepost.common.mail.mime import Where

from tubepost.services.cleanup.body import Body, strip_characters
from tubepost.services.cleanup.checks import Checker
from tubepost.services.cleanup.policy import Policy
from tubepost.services.cleanup.protocol import Fault, Message


def check(kit: Any, action: str, block: bytes = b"A: 1\nSubject: bad\nB: 2\n") -> tuple[bytes, Message]:
    message: Message = kit.message()
    message.last_recipient = "r@b.example"
    policy = kit.policy(header_checks=kit.check({"Subject: bad": action}))
    fields = kit.run(Checker(message, policy).fields(header.scan(block)))
    return b"".join(field.raw for field in fields), message


def test_reject_as_postfix_logs_it(kit: Any) -> None:
    out, message = check(kit, "REJECT no spam")
    assert out == b"A: 1\nSubject: bad\nB: 2\n"
    assert message.lines == [
        (
            "info",
            "4QID: reject: header Subject: bad from c.example[192.0.2.1]; from=<s@a.example> to=<r@b.example> "
            "proto=ESMTP helo=<c>: 5.7.1 no spam",
        )
    ]
    refused = message.refusal()
    assert refused is not None
    assert (refused.code, refused.dsn, refused.reason) == (550, "5.7.1", "no spam")


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("REJECT", (550, "5.7.1", "message content rejected")),
        ("reject 5.1.2 x y", (550, "5.1.2", "x y")),
        ("REJECT 4.2.0 later", (451, "4.2.0", "later")),
        ("REJECT 2.0.0 odd", (451, "4.0.0", "odd")),
        ("REJECT 550 5.7.1 x", (550, "5.7.1", "550 5.7.1 x")),
    ],
)
def test_reject_codes(kit: Any, action: str, expected: tuple[int, str, str]) -> None:
    refused = check(kit, action)[1].refusal()
    assert refused is not None
    assert (refused.code, refused.dsn, refused.reason) == expected


@pytest.mark.parametrize(
    ("action", "out"),
    [
        ("DUNNO", b"A: 1\nSubject: bad\nB: 2\n"),
        ("OK", b"A: 1\nSubject: bad\nB: 2\n"),
        ("IGNORE", b"A: 1\nB: 2\n"),
        ("STRIP", b"A: 1\nB: 2\n"),
        ("PREPEND X-New: y", b"A: 1\nX-New: y\nSubject: bad\nB: 2\n"),
        ("PREPEND no header", b"A: 1\nSubject: bad\nB: 2\n"),
        ("PREPEND", b"A: 1\nSubject: bad\nB: 2\n"),
        ("REPLACE Subject: good", b"A: 1\nSubject: good\nB: 2\n"),
        ("REPLACE nothing", b"A: 1\nSubject: bad\nB: 2\n"),
        ("WARN look", b"A: 1\nSubject: bad\nB: 2\n"),
        ("NONSENSE", b"A: 1\nSubject: bad\nB: 2\n"),
        ("", b"A: 1\nSubject: bad\nB: 2\n"),
    ],
)
def test_actions_on_a_field(kit: Any, action: str, out: bytes) -> None:
    result, message = check(kit, action)
    assert result == out
    assert not message.faults


def test_actions_on_the_message(kit: Any) -> None:
    assert check(kit, "HOLD")[1].hold
    assert check(kit, "FILTER smtp:[x]:25")[1].content_filter == "smtp:[x]:25"
    assert check(kit, "FILTER nonsense")[1].content_filter == ""
    assert check(kit, "REDIRECT x@y")[1].redirect == "x@y"
    assert check(kit, "REDIRECT x")[1].redirect == ""
    assert check(kit, "BCC x@y")[1].copies == ["x@y"]
    assert check(kit, "BCC x")[1].copies == []
    discarded = check(kit, "DISCARD junk")[1]
    assert discarded.discard
    discarded.fail(Fault.HOPS)
    assert discarded.refusal() is None


@pytest.mark.parametrize("action", ["PASS", "DISCARD", "REJECT", "REDIRECT x@y"])
def test_no_more_checks_after(kit: Any, action: str) -> None:
    _, message = check(kit, action, b"Subject: bad\nSubject: bad\n")
    assert len(message.lines) == 1


def test_folded_fields_are_seen_whole(kit: Any) -> None:
    seen: list[str] = []

    def note(text: str) -> None:
        seen.append(text)

    policy = kit.policy(header_checks=kit.check(note), mime_header_checks=kit.check(note, "mime_header_checks"))
    block = b"Subject: a\n\tb\nContent-Type: text/plain\nX: \xff\n"
    fields = kit.run(Checker(kit.message(), policy).fields(header.scan(block)))
    assert seen == ["Subject: a\n\tb", "Content-Type: text/plain", "X: \udcff"]
    assert b"".join(field.raw for field in fields) == block


def test_which_table_sees_what(kit: Any) -> None:
    policy = kit.policy(
        header_checks=kit.check(lambda _: "WARN primary"),
        mime_header_checks=kit.check(lambda _: "WARN mime"),
        nested_header_checks=kit.check(lambda _: "WARN nested"),
    )
    for raw, where, expected in (
        (b"Subject: x\n", Where.PRIMARY, "primary"),
        (b"Content-Type: x\n", Where.PRIMARY, "mime"),
        (b"X: x\n", Where.MIME, "mime"),
        (b"Subject: x\n", Where.NESTED, "nested"),
        (b"MIME-Version: x\n", Where.NESTED, "mime"),
    ):
        message = kit.message()
        kit.run(Checker(message, policy).field(raw, where))
        assert message.lines[0][1].endswith(f": {expected}")


HEAD = b"Content-Type: multipart/mixed; boundary=b\n"
BODY = (
    b"preamble\n--b\nContent-Type: text/plain; name=evil.exe\n\nline one\nbad line\nlast\n--b\n"
    b"Content-Type: message/rfc822\n\nSubject: inner\n\ntext\n--b--\n"
)


def filtered(
    kit: Any, policy: Policy, body: bytes = BODY, size: int = 10_000, head: bytes = HEAD
) -> tuple[bytes, Message]:
    message: Message = kit.message()
    machine = Body(message, policy, head)

    async def work() -> bytes:
        out = [await machine.feed(body[place : place + size]) for place in range(0, len(body), size)]
        out.append(await machine.finish())
        return b"".join(out)

    return kit.run(work()), message


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_body_passes_unchanged(kit: Any, size: int) -> None:
    policy = kit.policy(body_checks=kit.check({"nowhere": "REJECT"}), mime_header_checks=kit.check({}))
    assert filtered(kit, policy, size=size)[0] == BODY


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_parts_and_lines_are_changed(kit: Any, size: int) -> None:
    policy = kit.policy(
        mime_header_checks=kit.check({"evil.exe": "REPLACE Content-Type: text/plain"}),
        nested_header_checks=kit.check({"inner": "PREPEND X-Seen: yes"}),
        body_checks=kit.check({"bad": "REPLACE good line", "last": "IGNORE", "one": "PREPEND zero"}),
    )
    out, _ = filtered(kit, policy, size=size)
    assert out == (
        b"preamble\n--b\nContent-Type: text/plain\n\nzero\nline one\ngood line\n--b\n"
        b"Content-Type: message/rfc822\n\nX-Seen: yes\nSubject: inner\n\ntext\n--b--\n"
    )


def test_body_limit_counts_from_each_part(kit: Any) -> None:
    body = b"--b\n\n" + b"bad\n" * 10 + b"--b\n\nbad\n"
    policy = kit.policy(body_checks=kit.check({"bad": "IGNORE"}), body_checks_size_limit=20)
    assert filtered(kit, policy, body)[0] == b"--b\n\n" + b"bad\n" * 5 + b"--b\n\n"


def test_long_lines_are_seen_in_pieces(kit: Any) -> None:
    seen: list[int] = []

    def note(text: str) -> None:
        seen.append(len(text))

    body = b"x" * 5000 + b"\ny\n"
    out, _ = filtered(kit, kit.policy(body_checks=kit.check(note)), body, head=b"A: b\n")
    assert out == body
    assert seen == [2048, 2048, 904, 1]


def test_reject_in_the_body(kit: Any) -> None:
    out, message = filtered(kit, kit.policy(body_checks=kit.check({"bad": "REJECT"})))
    assert out == BODY
    assert message.faults == {Fault.CONTENT}
    assert "4QID: reject: body bad line from c.example[192.0.2.1];" in message.lines[0][1]


def test_without_mime_processing_lines_only(kit: Any) -> None:
    policy = kit.policy(
        mime_header_checks=kit.check({"evil": "REJECT"}), body_checks=kit.check({}), disable_mime_input_processing=True
    )
    out, message = filtered(kit, policy)
    assert out == BODY
    assert not message.faults


@pytest.mark.parametrize(
    ("setting", "head", "body", "text"),
    [
        ("strict_7bit_headers", b"Subject: \xff\n", b"x\n", "improper use of 8-bit data in message header"),
        ("strict_8bitmime_body", b"Subject: x\n", b"\xff\n", "improper use of 8-bit data in message body"),
        (
            "strict_mime_encoding_domain",
            b"Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64\n",
            b"x\n",
            "invalid message/* or multipart/* encoding domain",
        ),
    ],
)
def test_strictness(kit: Any, setting: str, head: bytes, body: bytes, text: str) -> None:
    assert not filtered(kit, kit.policy(mime_header_checks=kit.check({})), body, head=head)[1].faults
    refused = filtered(kit, kit.policy(**{setting: True}), body, head=head)[1].refusal()
    assert refused is not None
    assert (refused.code, refused.dsn, refused.reason) == (550, "5.6.0", text)


def test_a_label_in_a_part_makes_the_message_8bit(kit: Any) -> None:
    body = b"--b\nContent-Transfer-Encoding: 8bit\n\n\xff\n--b--\n"
    assert filtered(kit, kit.policy(header_checks=kit.check({})), body)[1].encoding == "8bit"


def test_characters(kit: Any) -> None:
    message = kit.message()
    assert strip_characters(message, kit.policy(), b"a\rb\n") == b"a b\n"
    assert strip_characters(message, kit.policy(replace_stray_cr=False), b"a\rb\n") == b"a\rb\n"
    assert strip_characters(message, kit.policy(strip_characters=b"\0\x01"), b"a\0b\x01") == b"ab"
    assert not message.faults
    strip_characters(message, kit.policy(reject_characters=b"\0"), b"a\0b")
    refused = message.refusal()
    assert refused is not None
    assert (refused.code, refused.dsn, refused.reason) == (550, "5.7.1", "disallowed character")
    quiet = kit.message(filters=False)
    assert strip_characters(quiet, kit.policy(reject_characters=b"\0"), b"a\0b") == b"a\0b"
    assert not quiet.faults


def test_checks_are_off_for_mail_of_our_own(kit: Any) -> None:
    message = kit.message(filters=False)
    policy = kit.policy(header_checks=kit.check({"": "REJECT"}), body_checks=kit.check({"": "REJECT"}))
    assert kit.run(Checker(message, policy).fields(header.scan(b"A: 1\n"))) == header.scan(b"A: 1\n")
    assert not policy.reads_body(message.filters)
    assert policy.reads_body(True)
    assert not kit.policy().reads_body(True)
