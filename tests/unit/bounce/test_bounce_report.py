"""Reports: what an outsider wrote cannot break out of its line or its part; the parts say what RFC 3464 asks for."""

import email
import email.policy
import re
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubepost.common.mail.date import format_date
from tubepost.common.mail.template import BUILT_IN
from tubepost.common.wire.bounce import Entry
from tubepost.common.wire.envelope import Envelope, Recipient

from tubepost.services.bounce import report
from tubepost.services.bounce.report import Facts, Original
from tubepost.services.bounce.verp import verp_sender

BOUNDARY = "4jYstk2L1qzBRn.7b9986e2db4e750f/mail.example.test"
HEAD = b"From: a@b\nSubject: x\nMessage-ID: <2@x>\nReferences: <0@x>\n\t<1@x>\n"


def entry(
    address: str = "a@one.test",
    text: str = "closed",
    *,
    action: str = "failed",
    dsn: str = "5.7.1",
    notify: tuple[str, ...] = (),
    original: str = "",
    orcpt: str = "",
    **status: str,
) -> Entry:
    return Entry.model_validate(
        {
            "recipient": {"address": address, "notify": notify, "original": original, "orcpt": orcpt},
            "status": {"offset": 1, "status": "bounced", "dsn": dsn, "text": text, **status},
            "action": action,
            "time": 5.0,
        }
    )


def facts(**changes: object) -> Facts:
    values: dict[str, object] = {
        "kind": "failure",
        "copy": False,
        "to": "s@example.test",
        "queue_id": "4jYstk2L1qzBRn",
        "envelope": Envelope(sender="s@example.test", arrival_time=0.0),
        "template": BUILT_IN["failure_template"],
        "myhostname": "mail.example.test",
        "mail_name": "tubepost",
        "boundary": BOUNDARY,
        "stamp": lambda when: format_date(when, 0, "UTC"),
    }
    return Facts(**(values | changes))  # type: ignore[arg-type]


def compose(entries: list[Entry], about: Facts | None = None, original: Original | None = None) -> bytes:
    chosen = original or Original(HEAD, lambda: iter([b"\nbody\n"]))
    return b"".join(report.compose(about or facts(), lambda: iter(entries), chosen))


def parts(data: bytes) -> tuple[EmailMessage, list[EmailMessage]]:
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message, [part for part in message.iter_parts() if isinstance(part, EmailMessage)]


def fields(part: EmailMessage) -> list[EmailMessage]:
    blocks = part.get_payload()
    assert isinstance(blocks, list)
    return [block for block in blocks if isinstance(block, EmailMessage)]


def test_a_failure_has_three_parts() -> None:
    entries = [
        entry(original="first@x", orcpt="rfc822;Given@x"),
        entry("b@two.test", "no", dsn="5.1.1", remote_mta="mx.two.test", diagnostic_type="smtp", diagnostic="550 no"),
    ]
    message, [text, status, original] = parts(compose(entries))
    assert message["Auto-Submitted"] == "auto-replied"
    assert message.get_param("report-type") == "delivery-status"
    assert "<a@one.test> (expanded from <first@x>): closed" in text.get_content()
    whole, one, two = fields(status)
    assert whole["Reporting-MTA"] == "dns; mail.example.test"
    assert whole["X-tubepost-Queue-ID"] == "4jYstk2L1qzBRn"
    assert one["Original-Recipient"] == "rfc822;Given@x"
    assert one["Diagnostic-Code"] == "X-Postfix; closed"
    assert (two["Remote-MTA"], two["Diagnostic-Code"]) == ("dns; mx.two.test", "smtp; 550 no")
    assert original.get_content_type() == "message/rfc822"
    assert b"Return-Path: <s@example.test>\nFrom: a@b\n" in compose(entries)


def test_a_copy_has_no_text_of_the_template_and_its_own_subject() -> None:
    data = compose([entry()], facts(copy=True), Original(HEAD, None))
    message, [text, _, original] = parts(data)
    assert message["Subject"] == "Postmaster Copy: Undelivered Mail"
    assert message["Auto-Submitted"] == "auto-generated"
    assert "mail system at host" not in text.get_content()
    assert original.get_content_type() == "text/rfc822-headers"


def test_a_thread_goes_on_where_that_is_wished() -> None:
    message, _ = parts(compose([entry()], facts(threaded=True)))
    assert message["In-Reply-To"] == "<2@x>"
    assert message["References"].split() == ["<0@x>", "<1@x>", "<2@x>"]
    assert parts(compose([entry()]))[0]["References"] is None


def test_only_delays_say_until_when() -> None:
    late = entry(action="delayed", dsn="4.0.0")
    _, [_, status, _] = parts(compose([late], facts(kind="delay", retry_until=86400.0)))
    assert fields(status)[1]["Will-Retry-Until"] == "Fri,  2 Jan 1970 00:00:00 +0000 (UTC)"
    assert b"Will-Retry" not in compose([entry()], facts(retry_until=86400.0))


def test_an_original_that_is_gone_is_said_to_be() -> None:
    assert b"can no longer be read" in compose([entry()], original=Original(b"", None, available=False))


def test_addresses_that_are_not_ascii() -> None:
    sender = Envelope(sender="jürgen@example.test", arrival_time=0.0, smtputf8=True)
    unicode_entry = entry("ö@x.test", "nö", orcpt="utf-8;ö@x.test")
    data = compose([unicode_entry], facts(international=True, eightbit=True, envelope=sender))
    _, [text, status, original] = parts(data)
    assert status.get_content_type() == "message/global-delivery-status"
    assert original.get_content_type() == "message/global"
    assert text.get_content_charset() == "utf-8"
    assert "Final-Recipient: utf-8; ö@x.test".encode() in data
    # RFC 6533: where the mail may not be international, the status part is ASCII all the same.
    data = compose([unicode_entry], facts(eightbit=True, envelope=sender))
    block = data[data.index(b"Content-Type: message/delivery-status") : data.index(b"Content-Description: Undel")]
    assert block.isascii()
    assert rb"Final-Recipient: utf-8; \x{F6}@x.test" in block


hostile = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=300) | st.sampled_from(
    ["\n\nX: y", f"\n--{BOUNDARY}--\n", "a" * 5000, "a " * 3000, "\r\nAction: delivered\r\n", "\x00\x1b[2J", "\u2028x"]
)


@given(words=st.lists(hostile, min_size=7, max_size=7))
@settings(max_examples=150, deadline=None)
def test_words_of_outsiders_stay_in_their_fields(words: list[str]) -> None:
    address, text, original, orcpt, remote, code, envid = words
    one = entry(
        address, text, original=original, orcpt=orcpt, remote_mta=remote, diagnostic=code, diagnostic_type="smtp"
    )
    sender = Envelope(sender=address, envid=envid, arrival_time=0.0)
    data = compose([one, one], facts(envelope=sender, eightbit=True, to=address))
    assert max(map(len, data.split(b"\n"))) <= 998
    lines = data.split(b"\n")
    assert sum(line == f"--{BOUNDARY}".encode() for line in lines) == 3
    assert sum(line == f"--{BOUNDARY}--".encode() for line in lines) == 1
    assert sum(line.startswith(b"Action:") for line in lines) == 2
    assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", data)


@given(text=st.text(alphabet="ab c", max_size=400))
def test_folding_keeps_all_words(text: str) -> None:
    folded = report.fold(text)
    assert folded.endswith("\n")
    assert folded.split() == text.split()
    # A second line is a continuation: it would be a field of its own without its indent.
    assert all(line.startswith("    ") for line in folded.split("\n")[1:-1])


def test_who_is_told() -> None:
    silent, all_ = entry(notify=("NEVER",)), entry()
    assert not report.is_due(silent, "failure", False)
    assert report.is_due(silent, "failure", True)
    assert report.is_due(all_, "failure", False) and report.is_due(all_, "delay", False)
    assert not report.is_due(entry(notify=("FAILURE",)), "delay", False)


def test_verp_puts_the_recipient_into_the_sender() -> None:
    who = Recipient(address="new@z", original="user@example.net")
    assert verp_sender("list-owner@example.com", "+=", who) == "list-owner+user=example.net@example.com"
    assert verp_sender("owner@x", "+=", Recipient(address="local")) == "owner+local@x"


# RFC 3461 10.6 to 10.9, the reports that its example leads to: recipient, original one, action, status, what is added.
EXAMPLES = [
    ("10.6", "success", "Bob@Example.COM", "Bob@Example.COM", "delivered", "2.0.0", {}),
    (
        "10.7",
        "failure",
        "Carol@Ivory.EDU",
        "Carol@Ivory.EDU",
        "failed",
        "5.0.0",
        {"remote_mta": "Ivory.EDU", "diagnostic_type": "smtp", "diagnostic": "550 error - no such recipient"},
    ),
    ("10.8", "success", "Dana@Ivory.EDU", "Dana@Ivory.EDU", "relayed", "2.0.0", {}),
    ("10.9", "failure", "Sam@Boondoggle.GOV", "George@Tax-ME.GOV", "failed", "4.2.2", {}),
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example[0])
def test_the_examples_of_rfc_3461(example: tuple[str, str, str, str, str, str, dict[str, str]]) -> None:
    _, kind, recipient, original, action, status, added = example
    envelope = Envelope.model_validate(
        {"sender": "Alice@Example.ORG", "arrival_time": 0.0, "envid": "QQ314159", "ret": "HDRS"}
    )
    about = facts(
        kind=kind,
        to="Alice@Example.ORG",
        envelope=envelope,
        template=BUILT_IN[f"{kind}_template"],
        myhostname="mail.Example.COM",
    )
    found = entry(recipient, "text", action=action, dsn=status, orcpt=f"rfc822;{original}", notify=(), **added)
    message, [_, told, headers] = parts(compose([found], about, Original(HEAD, None)))
    assert (message["To"], message["Auto-Submitted"]) == ("Alice@Example.ORG", "auto-replied")
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    whole, one = fields(told)
    assert whole["Reporting-MTA"] == "dns; mail.Example.COM"
    assert whole["Original-Envelope-Id"] == "QQ314159"
    assert one["Original-Recipient"] == f"rfc822;{original}"
    assert one["Final-Recipient"] == f"rfc822; {recipient}"
    assert (one["Action"], one["Status"]) == (action, status)
    if added:
        assert one["Diagnostic-Code"] == "smtp; 550 error - no such recipient"
        assert one["Remote-MTA"] == "dns; Ivory.EDU"
    # RET=HDRS: what is returned ends where the header does.
    assert headers.get_content_type() in ("message/rfc822-headers", "text/rfc822-headers")
