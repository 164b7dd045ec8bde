"""The same lines said to a real Postfix and to us: the same replies, word for word."""

import re
import socket
from collections.abc import Iterator

import pytest

from tests.fakes.instance import Instance
from tests.fakes.postfix import UNUSABLE, PostfixPeer

pytestmark = pytest.mark.skipif(bool(UNUSABLE), reason=UNUSABLE)

# What both are told beyond their own names.
SETTINGS = {
    "mynetworks": "127.0.0.1",
    "virtual_mailbox_domains": "example.test",
    "virtual_alias_maps": "",
    "smtpd_error_sleep_time": "0",
    "smtpd_soft_error_limit": "1000",
    "smtpd_hard_error_limit": "1000",
    "smtpd_junk_command_limit": "1000",
    "smtpd_peername_lookup": "no",
    "smtpd_forbid_unauth_pipelining": "no",
    "message_size_limit": "100000",
    "virtual_mailbox_limit": "0",
    "smtpd_helo_restrictions": "reject_invalid_helo_hostname",
    "smtpd_sender_restrictions": "check_sender_access texthash:$config_directory/senders, reject_non_fqdn_sender",
    "smtpd_recipient_limit": "5",
    "recipient_delimiter": "+",
    "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
    "smtpd_discard_ehlo_keywords": "chunking, binarymime, limits",
}
SENDERS = """reject@s.test REJECT
words@s.test REJECT go away
code@s.test 553 5.7.1 not you
defer@s.test DEFER later
defer4@s.test 450 4.7.0 later
ok@s.test OK
dunno@s.test DUNNO
class@s.test reject
"""

# Not in it, where we differ on purpose: syntax that RFC 5321 forbids and Postfix forgives ("a@b>", "<a@(c)b>", "<@b>"),
# HELP, which RFC 5321 wants, and AUTH.
E, M, R = "EHLO c.test", "MAIL FROM:<x@s.test>", "RCPT TO:<alice@example.test>"
SESSIONS = {
    "order": [
        "MAIL FROM:<x@s.test>",
        "RCPT TO:<alice@example.test>",
        "RSET",
        E,
        "DATA",
        R,
        M,
        "RSET",
        "DATA",
        M,
        R,
        "EHLO again.test",
        R,
    ],
    "helo": ["HELO", "EHLO", "HELO a b", "HELO c.test", "HELO a..b", "EHLO [127.0.0.1]", "EHLO -x-", M, R],
    "arguments": [
        E,
        "MAIL",
        "MAIL FROM",
        "MAIL FROM:",
        "MAIL FROM:x@s.test",
        "MAIL FROM: <x@s.test>",
        M,
        "RCPT",
        "RCPT TO",
        "RCPT TO:",
        "RCPT TO:<>",
        "RCPT TO:alice@example.test",
        "RCPT TO: <alice@example.test>",
        "RCPT <a@b.test>",
    ],
    "senders": [
        E,
        *(
            line
            for address in (
                "<>",
                "<a b@s.test>",
                "<a@[1.2.3.4]>",
                "<a@[no>",
                "<@r.test:a@s.test>",
                "<a@s.test",
                '<"a b"@s.test>',
                "<a@>",
                "<a@b@s.test>",
                "<a@s..test>",
                "<a@-s.test>",
                "<a@s.test.>",
                '<""@s.test>',
                "<a,b@s.test>",
                "<a@s.test> X",
                "<a@s.test> SIZE=1 SIZE=2",
                "< a@s.test >",
                "<a:b@s.test>",
                "<a@s_t.test>",
                "<a!b@s.test>",
                "<a%b@s.test>",
                "<postmaster>",
                "<a>",
            )
            for line in (f"MAIL FROM:{address}", R, "RSET")
        ),
    ],
    "recipients": [
        E,
        M,
        *(
            f"RCPT TO:{address}"
            for address in (
                "<nobody@example.test>",
                "<alice+x@example.test>",
                "<Alice@Example.Test>",
                "<alice@[127.0.0.1]>",
                "<alice@[no>",
                "<a b@example.test>",
                "<@r.test:alice@example.test>",
                '<"alice"@example.test>',
                "<alice@>",
                "<alice@example.test.>",
                "<x@example.test@other.test>",
                "<x%other.test@example.test>",
                "<other.test!x@example.test>",
                "<>",
                '<""@example.test>',
                "<alice@example.test> X=1",
                "<alice@example.test> NOTIFY=NEVER,SUCCESS",
                "<alice@example.test> NOTIFY=BAD",
                "<alice@example.test> ORCPT=bad",
            )
        ),
    ],
    "parameters": [
        E,
        *(
            line
            for words in (
                "SIZE=",
                "SIZE=x",
                "SIZE=-1",
                "SIZE=99999999999999999999",
                "SIZE=100000",
                "SIZE=100001",
                "BODY=7BIT",
                "BODY=8BITMIME",
                "BODY=X",
                "RET=FULL",
                "RET=X",
                "ENVID=a+20b",
                "ENVID=a+2",
                "ENVID=",
                "SMTPUTF8",
                "SMTPUTF8=1",
                "FOO",
                "FOO=1",
            )
            for line in (f"MAIL FROM:<x@s.test> {words}", "RSET")
        ),
    ],
    "sender access": [
        E,
        *(
            line
            for name in ("reject", "words", "code", "defer", "defer4", "ok", "dunno", "class")
            for line in (f"MAIL FROM:<{name}@s.test>", R, "RSET")
        ),
    ],
    "limits": [E, M, R, R, R, R, R, R, R, "DATA"],
    "other": [
        E,
        "NOOP",
        "NOOP x",
        "RSET x",
        "RSET",
        "VRFY",
        "VRFY alice@example.test",
        "VRFY nobody@example.test",
        "VRFY <>",
        "EXPN x",
        "STARTTLS",
        "ETRN",
        "ETRN x y",
        "ETRN -bad-",
        "TURN",
        "XCLIENT NAME=a",
        "XFORWARD NAME=a",
        "GET / HTTP/1.0",
    ],
    "mess": [
        E,
        "",
        " ",
        "\t",
        "FOO",
        "FOO bar",
        "M\u00e4IL",
        "MAIL\tFROM:<x@s.test>",
        "mail from:<x@s.test>",
        "rcpt to:<alice@example.test>",
        "QUIT now",
    ],
    "data": [
        M,
        E,
        M,
        R,
        "DATA x",
        "DATA",
        "Subject: x\r\n\r\nbody\r\n.",
        M,
        R,
        "DATA",
        "y" * 90_000 + "\r\n" + "y" * 20_000 + "\r\n.",
        "NOOP",
    ],
    "relay": [E, M, "RCPT TO:<x@elsewhere.test>", "RCPT TO:<x@[192.0.2.1]>"],
}


def talk(port: int, lines: list[str], source: str) -> list[str]:
    """The reply to each line, with what differs by nature made equal."""
    replies = list[str]()
    with socket.create_connection(("127.0.0.1", port), 10, (source, 0)) as connection:
        connection.settimeout(10)
        stream = connection.makefile("rwb")
        for line in ["", *lines]:
            if replies or line:
                stream.write(line.encode() + b"\r\n")
                stream.flush()
            reply = []
            while part := stream.readline():
                reply.append(part.decode("utf-8", "replace"))
                if part[3:4] != b"-":
                    break
            replies.append("".join(sorted(reply) if reply and line.startswith("EHLO") else reply))
            if not reply:
                break
    return [_same(text) for text in replies]


def _same(text: str) -> str:
    text = re.sub(r"queued as \w+", "queued as ID", text)
    return text.replace("ESMTP Postfix", "ESMTP tubepost").replace("mail.peer.test", "mail.example.test")


@pytest.fixture(scope="module")
def systems() -> Iterator[tuple[Instance, PostfixPeer]]:
    maps = "inline:{alice@example.test=alice/,bob@example.test=bob/}"
    peer = PostfixPeer({**SETTINGS, "myhostname": "mail.example.test", "virtual_mailbox_maps": maps})
    instance = Instance(
        main={**SETTINGS, "smtpd_tls_security_level": "none", "mydestination": "", "disable_dns_lookups": "yes"}
    )
    for conf in (peer.root / "conf", instance.conf):
        (conf / "senders").write_text(SENDERS)
    with peer, instance:
        yield instance, peer


@pytest.mark.parametrize("name", SESSIONS)
@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.5"])
def test_the_same_replies(systems: tuple[Instance, PostfixPeer], name: str, source: str) -> None:
    instance, peer = systems
    lines = SESSIONS[name]
    ours, theirs = talk(instance.port, lines, source), talk(peer.port, lines, source)
    said = ["", *lines]
    different = [
        f"{line[:100]}\n  theirs: {their}  ours:   {our}"
        for line, their, our in zip(said, theirs, ours, strict=False)
        if our != their
    ]
    assert not different, "\n" + "\n".join(different)
    assert len(ours) == len(theirs)
