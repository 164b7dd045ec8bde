"""The smaller pure parts: policy servers, notices, the Received field, XCLIENT attributes."""

import pytest

from tubepost.common.mail import notice

from tubepost.services.smtpd import xclient
from tubepost.services.smtpd.policy import Manner, encode, parse_answer, parse_server
from tubepost.services.smtpd.received import format_received


def received(recipient: str, **changes: object) -> str:
    arguments = {
        "helo": "c.example",
        "client_name": "unknown",
        "client_address": "2001:db8::1",
        "myhostname": "mx.example",
        "mail_name": "Tubepost",
        "protocol": "ESMTP",
        "recipient": recipient,
        "time": 1_700_000_000.5,
        "offset": 3600,
        "queue_id": "QID",
        **changes,
    }
    return format_received(**arguments)  # type: ignore[arg-type]


def test_received() -> None:
    assert received("a@b.example").split("\n") == [
        "Received: from c.example (unknown [IPv6:2001:db8::1])",
        "\tby mx.example (Tubepost) with ESMTP id QID",
        "\tfor <a@b.example>; Tue, 14 Nov 2023 23:13:20 +0100",
    ]
    assert "for <" not in received("")


def test_policy_servers() -> None:
    manner = Manner()
    assert parse_server("unix:private/grey", manner) == ("unix:private/grey", manner)
    endpoint, own = parse_server("{ inet:127.0.0.1:9998, timeout=10s, default_action=450 4.7.1 later }", manner)
    assert (endpoint, own.timeout, own.default_action) == ("inet:127.0.0.1:9998", 10.0, "450 4.7.1 later")
    _, own = parse_server("{inet:x:1, default_action=DUNNO policy_context=submission}", manner)
    assert (own.default_action, own.policy_context) == ("DUNNO", "submission")
    _, own = parse_server("{ inet:x:1, { default_action = 451 4.3.5 later, please }, try_limit=1 }", manner)
    assert (own.default_action, own.try_limit) == ("451 4.3.5 later, please", 1)
    for bad in ("{ }", "{ inet:x:1, timeout=soon }", "{ inet:x:1, nonsense=1 }"):
        with pytest.raises(ValueError):
            parse_server(bad, manner)


def test_policy_attributes_cannot_be_forged() -> None:
    assert encode({"sender": "a\nrecipient=b"}) == b"sender=a?recipient=b\n\n"
    assert parse_answer(b"x=1\naction=DUNNO\n\n") == "DUNNO"
    with pytest.raises(ValueError):
        parse_answer(b"nothing\n\n")


def test_notice() -> None:
    text = notice.write(
        mail_name="Tubepost",
        myorigin="here.example",
        recipient="postmaster",
        role="SMTP server",
        peer="c[1]",
        transcript=["In:  X" + "y" * 200, "Out: 5\x0700"],
        reason="timeout",
    ).decode()
    assert "\n Out: 5?00\n" in text
    assert "Session aborted, reason: timeout" in text
    assert max(map(len, text.split("\n"))) <= 78
    assert notice.is_wanted({"policy"}, ["Policy"])
    assert not notice.is_wanted({"policy"}, ["resource"])


def test_xclient_attributes() -> None:
    found = xclient.read_xclient("NAME=c.example addr=IPv6:2001:DB8::1 PORT=25 HELO=a+20b PROTO=esmtp")
    assert found == {"NAME": "c.example", "ADDR": "2001:db8::1", "PORT": "25", "HELO": "a?b", "PROTO": "ESMTP"}
    assert xclient.read_xforward("NAME=[UNAVAILABLE] SOURCE=REMOTE") == {"NAME": "unknown", "SOURCE": "remote"}
    for bad in ("", "NAME", "NAME=", "NAME=a..b", "ADDR=300.1.1.1", "PORT=x", "FOO=1", "HELO=" + "x" * 256):
        with pytest.raises(xclient.AttributeRefused):
            xclient.read_xclient(bad)
    with pytest.raises(xclient.AttributeRefused):
        xclient.read_xforward("NAME=[TEMPUNAVAIL]")


def test_names_that_dns_could_know() -> None:
    for good in ("a", "a.b", "a_b.c-d.e", "1.2.x"):
        assert xclient.is_hostname(good)
    for bad in ("", ".", "a.", "-a.b", "a-.b", "a.-b", "a.b-", "a..b", "1.2.3", "x" * 64 + ".a"):
        assert not xclient.is_hostname(bad)
