"""Fuzzes the arguments of SMTP commands: paths, ESMTP parameters, xtext, XCLIENT, and how addresses are rewritten.

The invariant: nothing but the declared errors is raised; no address, envelope id or attribute that was let in has a
control character, so that none can end a line of a header, a log or a queue file; a path that was taken apart reads the
same when it is written again; rewriting stays linear and brings in nothing either.

    python -m tests.fuzz addresses -max_total_time=20
"""

import re

from tubepost.common.mail import address, addresslist
from tubepost.common.smtp import command, xtext

from tests.fuzz.driver import Harness
from tubepost.services.rewrite import rewriting, tokens
from tubepost.services.rewrite.rewriting import Context, Rules
from tubepost.services.smtpd import xclient
from tubepost.services.smtpd.parameters import ParameterRefused, read_mail, read_rcpt

WORDS = [
    b"<", b">", b"@", b"@a,@b:", b"user", b"a@b.example", b"<a@b.example>", b"%", b"!", b'"', b"\\", b"(", b")",
    b"[", b"]", b"[127.0.0.1]", b"[IPv6:::1]", b":", b";", b",", b".", b" ", b"\t", b"\0", b"\x7f", b"\xc3\xbc",
    b"\xe2\x80\xa8",
    b" SIZE=10", b" BODY=8BITMIME", b" ENVID=", b" ORCPT=rfc822;", b" ORCPT=utf-8;", b"+0A", b"+0D+0A", b"+3D", b"+",
    b"\\x{0A}", b"\\x{110000}", b" RET=FULL", b" NOTIFY=", b"SUCCESS,FAILURE", b"NEVER", b" AUTH=",
    b" SMTPUTF8", b"=",
    b"NAME=x ", b"ADDR=1.2.3.4 ", b"HELO=", b"PROTO=", b"LOGIN=", b"[UNAVAILABLE]", b"x" * 60, b"postmaster",
    b"XVERP=+-",
]  # fmt: skip
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_RULES = Rules(Context("origin.example", "domain.example"), Context("", ""))
_NOTHING: frozenset[str] = frozenset()


def clean(text: str) -> None:
    assert _CONTROL.search(text) is None, f"a control character in {text!r}"


def paths(text: str, label: str, strict: bool) -> None:
    try:
        found = command.parse_path_command(text if text[:1].isspace() else label + text, label, strict=strict)
    except command.CommandError as error:
        assert str(error)
        return
    clean(found.address)
    assert len(found.address) <= 2 * command.ADDRESS_LIMIT + 10
    if found.address:
        again = command.parse_path(f"<{found.address}>")
        assert again == found.address, f"{found.address!r} reads as {again!r}"
        assert address.unquote(address.quote(address.unquote(found.address))) == address.unquote(found.address)
        local, domain = address.split(found.address)
        assert address.join(local, domain) == found.address
    try:
        if label == "FROM:":
            mail = read_mail(
                found.address, found.parameters, withheld=_NOTHING, smtputf8_enable=True, verp=("+=", "-=+"), auth=True
            )
            for value in (mail.envid, mail.auth, mail.verp):
                clean(value)
            assert xtext.decode(xtext.encode(mail.envid)) == mail.envid
        else:
            rcpt = read_rcpt(found.address, found.parameters, withheld=_NOTHING)
            clean(rcpt.orcpt)
    except ParameterRefused as refused:
        assert re.fullmatch(r"5[0-9]{2} 5\.[0-9]\.[0-9] [^\r\n]+", refused.reply), refused.reply
    routed(found.address)


def routed(text: str) -> None:
    for context in (_RULES.local, _RULES.remote):
        made = rewriting.rewrite(text, context, _RULES)
        if _CONTROL.search(text) is None:
            clean(made)
        assert len(made) <= 2 * len(text) + 40


def check(settings: int, data: bytes) -> None:
    text = data.decode("utf-8", "replace").replace("\r", " ").replace("\n", " ")
    match settings & 3:
        case 0:
            paths(text, "FROM:", bool(settings & 4))
        case 1:
            paths(text, "TO:", bool(settings & 4))
        case 2:
            text = text[:8000]
            routed(text)
            assert isinstance(tokens.internal(tokens.scan_address(text)), str)
            for found in addresslist.extract_addresses(text):
                routed(found[:1000])
            try:
                value = xtext.decode(text)
            except ValueError:
                pass
            else:
                # Who encodes more than has to be encoded ("+40") says the same (RFC 3461 4).
                assert xtext.decode(xtext.encode(value)) == value
            for smtputf8 in (False, True):
                assert xtext.decode_utf8_address(xtext.encode_utf8_address(text, smtputf8=smtputf8)) == text
        case 3:
            for reader in (xclient.read_xclient, xclient.read_xforward):
                try:
                    for name, value in reader(text).items():
                        assert name.isupper()
                        clean(value)
                except xclient.AttributeRefused as refused:
                    assert "\n" not in refused.reply


HARNESS = Harness(
    check,
    WORDS,
    [
        b"\0<a@b.example> SIZE=10 BODY=8BITMIME ENVID=a+3Db AUTH=a+40b RET=HDRS",
        b'\1<@a,@b:"x y\\""@c.example> ORCPT=rfc822;a+40b NOTIFY=SUCCESS,DELAY',
        b"\2a!b!c%d@e (x) <f@[1.2.3.4]>",
        b"\3NAME=a.example ADDR=192.0.2.1 PROTO=ESMTP HELO=x LOGIN=y",
    ],
)
