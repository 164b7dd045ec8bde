"""The header: what is dropped, rewritten, added; hop count; recipients taken from it."""

from typing import Any

import pytest

from tubepost.common.mail import header
from tubepost.common.wire.cleanup import QUEUE_ID_MARK
from tubepost.common.wire.envelope import Envelope

from tubepost.services.cleanup import headers
from tubepost.services.cleanup.policy import Policy
from tubepost.services.cleanup.protocol import Fault, Message

NOW = (1795544452.0, 3600, "CET")


def clean(kit: Any, policy: Policy, block: bytes, **changes: Any) -> tuple[bytes, Message]:
    message: Message = kit.message(**changes)
    out = kit.run(headers.clean_header(message, policy, header.scan(block), NOW))
    return b"".join(out), message


def test_mail_of_others_is_left_alone_but_for_dropped_fields(kit: Any) -> None:
    block = b"From: x\nBCC: secret@y\nX : odd\nReturn-Path: <z>\nTo: a,\n\tb\nContent-Length: 3\n"
    out, message = clean(kit, kit.policy(), block)
    assert out == b"From: x\nX : odd\nTo: a,\n\tb\n"
    assert message.lines == [("info", "4QID: message-id=<>")]


def test_missing_fields_of_local_mail(kit: Any) -> None:
    policy = kit.policy(undisclosed_recipients_header="To: undisclosed-recipients:;")
    out, message = clean(kit, policy, b"Subject: x\n", rewrite_context="local")
    assert out == (
        b"Subject: x\nMessage-Id: <4QID@mx.example>\nDate: Tue, 24 Nov 2026 19:20:52 +0100 (CET)\n"
        b"From: s@a.example\nTo: undisclosed-recipients:;\n"
    )
    assert message.lines == [("info", "4QID: message-id=<4QID@mx.example>")]


def test_nothing_is_added_that_is_there(kit: Any) -> None:
    block = b"message-ID: <m@x>\nDATE: x\nfrom: a@b\nCc: c@d\n"
    policy = kit.policy(undisclosed_recipients_header="To: u:;", always_add_missing_headers=True)
    out, message = clean(kit, policy, block)
    assert out == block
    assert message.lines == [("info", "4QID: message-id=<m@x>")]


def test_resent_mail_gets_resent_fields(kit: Any) -> None:
    out, message = clean(kit, kit.policy(), b"From: a@b\nResent-To: c@d\n", rewrite_context="local")
    assert out.startswith(b"From: a@b\nResent-To: c@d\nResent-Message-Id: <4QID@mx.example>\nResent-Date: ")
    assert out.endswith(b"\nResent-From: s@a.example\n")
    assert message.lines == [
        ("info", "4QID: resent-message-id=<4QID@mx.example>"),
        ("info", "4QID: message-id=<>"),
    ]


@pytest.mark.parametrize(
    ("fullname", "form", "expected"),
    [
        ("Joe User", "standard", "From: Joe User <s@a.example>"),
        ('J. "x"', "standard", 'From: "J. \\"x\\"" <s@a.example>'),
        ("Jörg", "standard", "From: =?utf-8?Q?J=C3=B6rg?= <s@a.example>"),
        ("Joe (x)", "obsolete", "From: s@a.example (Joe \\(x\\))"),
        ("Evil\nBcc: x", "standard", 'From: "Evil Bcc: x" <s@a.example>'),
    ],
)
def test_from_with_the_full_name(kit: Any, fullname: str, form: str, expected: str) -> None:
    envelope = Envelope(sender="s@a.example", arrival_time=1, fullname=fullname)
    policy = kit.policy(header_from_format=form)
    out, _ = clean(kit, policy, b"To: x@y\n", rewrite_context="local", envelope=envelope)
    assert f"\n{expected}\n" in out.decode()


def test_from_of_a_null_sender(kit: Any) -> None:
    envelope = Envelope(sender="", arrival_time=1, fullname="Mail System")
    out, _ = clean(kit, kit.policy(), b"To: x@y\n", rewrite_context="local", envelope=envelope)
    assert b"\nFrom: MAILER-DAEMON\n" in out


def test_addresses_are_rewritten_in_their_context(kit: Any) -> None:
    block = b'From: "A, B" <a>\nTo: b (c),\n\tc@d.example\nX-To: e\n'
    out, _ = clean(kit, kit.policy(), block, rewrite_context="local")
    assert out.startswith(b'From: "A, B" <a@local.example>\nTo: b@local.example (c),\n\tc@d.example\nX-To: e\n')
    out, _ = clean(kit, kit.policy(remote_header_rewrite_domain="remote.example"), block)
    assert out.startswith(b'From: "A, B" <a@remote.example>\nTo: b@remote.example (c),\n')


def test_header_maps_by_class(kit: Any) -> None:
    table = {"a@x.example": ["new@y.example"]}
    policy = kit.policy(
        sender_maps=(kit.address_map(table, "header_sender"),),
        recipient_maps=(kit.address_map(table, "envelope_recipient"),),
        masquerade_domains=("z.example",),
    )
    block = b"From: a@x.example\nTo: a@x.example\nCc: b@h.z.example\nDate: x\nMessage-Id: <x>\n"
    out, _ = clean(kit, policy, block, rewrite_context="local")
    assert out == b"From: new@y.example\nTo: a@x.example\nCc: b@z.example\nDate: x\nMessage-Id: <x>\n"


def test_hop_count(kit: Any) -> None:
    policy = kit.policy(hopcount_limit=5)
    assert not clean(kit, policy, b"Received: x\n" * 4)[1].faults
    message = clean(kit, policy, b"Received: x\n" * 5)[1]
    refused = message.refusal()
    assert message.faults == {Fault.HOPS}
    assert refused is not None
    assert (refused.code, refused.dsn, refused.reason) == (554, "5.4.0", "Error: too many hops")


def test_long_fields_are_cut(kit: Any) -> None:
    out, _ = clean(kit, kit.policy(header_size_limit=50), b"A: " + b"x" * 500 + b"\nB: y\n")
    assert out == b"A: " + b"x" * 47 + b"\nB: y\n"


def test_encoding_follows_the_label(kit: Any) -> None:
    assert clean(kit, kit.policy(), b"Content-Transfer-Encoding: 8BIT\n")[1].encoding == "8bit"
    assert clean(kit, kit.policy(), b"Content-Transfer-Encoding: base64\n")[1].encoding == "7bit"
    policy = kit.policy(detect_8bit_encoding_header=False)
    assert clean(kit, policy, b"Content-Transfer-Encoding: 8bit\n")[1].encoding == "7bit"


def test_bytes_of_no_charset_pass(kit: Any) -> None:
    block = b"From: \xe9 <a>\nSubject: \xff\nMessage-Id: \xff\n"
    out, message = clean(kit, kit.policy(smtputf8_autodetect=frozenset({"pickup"})), block, source="pickup")
    assert out == block
    assert message.smtputf8
    out, _ = clean(kit, kit.policy(), block, rewrite_context="local")
    assert out.startswith(b"From: \xe9 <a@local.example>\nSubject: \xff\n")


def test_recipients_are_extracted() -> None:
    fields = header.scan(b"To: a@x, B <b@x>\nFrom: f@x\nCc: c@x\nBcc: Group: d@x, a@x;\n")
    assert headers.extract_recipients(fields) == ["a@x", "b@x", "c@x", "d@x"]
    fields = header.scan(b"To: a@x\nResent-To: r@x\nResent-Bcc: s@x\n")
    assert headers.extract_recipients(fields) == ["r@x", "s@x"]


def test_prepended_lines() -> None:
    fields = headers.prepended((f"Received: from x\n\tby y id {QUEUE_ID_MARK}", "no field", "X-Y: z"), "4QID")
    assert [field.raw for field in fields] == [b"Received: from x\n\tby y id 4QID\n", b"X-Y: z\n"]
