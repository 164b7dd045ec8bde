"""What pickup believes, and what it makes of a refusal."""

import pytest

from tubepost.common.wire.base import Refused
from tubepost.common.wire.envelope import Envelope, Origin, Recipient

from tubepost.services.pickup import protocol
from tubepost.services.pickup.protocol import Fate

NOW = 1_000_000_000.0


@pytest.mark.parametrize(
    ("code", "dsn", "fate"),
    [
        (451, "4.3.0", Fate.KEEP),
        (452, "4.3.1", Fate.KEEP),
        (0, "", Fate.KEEP),
        (550, "5.1.0", Fate.DROP),
        (550, "5.7.1", Fate.RETURN),
        (552, "5.3.4", Fate.RETURN),
        (554, "5.4.0", Fate.RETURN),
    ],
)
def test_what_a_refusal_means(code: int, dsn: str, fate: Fate) -> None:
    assert protocol.judge(Refused(code=code, dsn=dsn, reason="x")) is fate


@pytest.mark.parametrize(
    ("modified", "time", "told"),
    [
        (NOW, NOW, ""),
        (NOW + 7200, NOW + 7200, ""),
        (NOW + 7201, NOW, "dated 7201 seconds into the future"),
        (NOW - 86_400, NOW - 86_400, ""),
        (NOW - 3 * 86_400, NOW - 3 * 86_400, "has been queued for 3 days"),
    ],
)
def test_the_time_that_is_believed(modified: float, time: float, told: str) -> None:
    assert protocol.posted_time(modified, NOW) == (time, told)


FORGED = Envelope(
    sender="s@x",
    arrival_time=5.0,
    encoding="binary",
    ret="FULL",
    envid="e",
    origin=Origin(client_name="trusted", client_address="127.0.0.1", sasl_username="boss", uid=0),
    content_filter="smtp:evil",
    redirect="thief@x",
    verp="+=",
    fullname="n",
    rewrite_context="remote",
)


def test_a_user_cannot_say_who_the_client_was_or_where_mail_goes() -> None:
    believed = protocol.believed_envelope(FORGED, 1000, NOW, "scan:here")
    assert believed == Envelope(
        sender="s@x",
        arrival_time=NOW,
        encoding="7bit",
        ret="FULL",
        envid="e",
        origin=Origin(uid=1000),
        content_filter="scan:here",
        verp="+=",
        fullname="n",
        rewrite_context="remote",
    )


def test_mail_from_the_queue_keeps_its_history_but_not_its_decisions() -> None:
    again = protocol.requeued_envelope(FORGED, "scan:here")
    assert again.origin == FORGED.origin
    assert again.arrival_time == 5.0
    assert (again.content_filter, again.redirect) == ("scan:here", "")


@pytest.mark.parametrize(
    ("written", "client", "context"),
    [("local", "192.0.2.1", "local"), ("", "192.0.2.1", "remote"), ("", "", "local"), ("remote", "", "remote")],
)
def test_the_rewriting_context_of_mail_from_the_queue(written: str, client: str, context: str) -> None:
    envelope = FORGED.model_copy(update={"rewrite_context": written, "origin": Origin(client_address=client)})
    again = protocol.requeued_envelope(envelope, "")
    assert protocol.deposit(again, [], "X: y", frozenset(), requeued=True).rewrite_context == context


@pytest.mark.parametrize(
    ("options", "filters", "aliases"),
    [
        (frozenset(), True, True),
        (frozenset({"no_address_mappings"}), True, False),
        (frozenset({"no_header_body_checks"}), False, True),
    ],
)
def test_receive_override_options(options: frozenset[str], filters: bool, aliases: bool) -> None:
    deposit = protocol.deposit(FORGED, [Recipient(address="a")], "X: y", options, requeued=False)
    assert (deposit.filters, deposit.aliases, deposit.bcc) == (filters, aliases, aliases)
    assert deposit.source == "pickup" and deposit.milters


def test_the_received_field() -> None:
    line = protocol.received("mx.example", "tubepost", 1000, 0.0, 0, "UTC")
    assert line == (
        "Received: by mx.example (tubepost, from userid 1000)\n\tid \0id\0; Thu,  1 Jan 1970 00:00:00 +0000 (UTC)"
    )


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\0", "\x85", "\u2028", "\x1b"])
def test_nobody_posts_a_line_of_a_header(separator: str) -> None:
    """A file in maildrop can be written by other programs than sendmail."""
    text = f'"x{separator}Injected: y"@a.example'
    written = Envelope(sender=text, arrival_time=NOW, envid=text, fullname=text, verp=separator[:1] * 2)
    envelope = protocol.believed_envelope(written, 7, NOW, "")
    person = Recipient(address=text, original=text, orcpt=f"rfc822;{text}")
    question = protocol.deposit(envelope, [person], "Received: x", frozenset(), requeued=False)
    assert separator not in envelope.sender + envelope.envid + envelope.fullname + envelope.verp
    for found in question.recipients:
        assert separator not in found.address + found.original + found.orcpt
        assert found.address.startswith('"x?')


def test_what_is_harmless_is_left_alone() -> None:
    person = Recipient(address="\u00fc \u00a0@a.example", orcpt="utf-8;x y")
    question = protocol.deposit(Envelope(sender="", arrival_time=NOW), [person], "", frozenset(), requeued=False)
    assert question.recipients == (person,)
    assert protocol.harmless("J\u00fcrgen O\u2019Neill") == "J\u00fcrgen O\u2019Neill"


@pytest.mark.parametrize("modified", [-1.0, -(2.0**40), -4e18])
def test_a_time_that_no_calendar_has_is_not_believed(modified: float) -> None:
    assert protocol.posted_time(modified, 1e9) == (1e9, "dated before 1970")
