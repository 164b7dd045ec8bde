"""STARTTLS and AUTH of the client's machine, policies, and whose certificate will do."""

import base64
from dataclasses import replace

import pytest

from tubepost.common.wire.envelope import Envelope, Recipient
from tubepost.common.net.certificates import PeerCertificate

from tubepost.services.smtp import handshake, policy
from tubepost.services.smtp.handshake import Login, Security
from tubepost.services.smtp.policy import Defaults, Policy, PolicyError
from tubepost.services.smtp.protocol import Conversation, Mail, Phase
from tubepost.services.smtp.server import Manner, Server

DEFAULTS = Defaults(
    level="may",
    protocols=">=TLSv1",
    mandatory_protocols=">=TLSv1.2",
    ciphers="medium",
    mandatory_ciphers="high",
    excluded=("RC4",),
    mandatory_excluded=("SHA1",),
    verify_matches=("hostname",),
    secure_matches=("nexthop", "dot-nexthop"),
    fingerprints=(),
)


def conversation(security: Security, *, lmtp: bool = False) -> Conversation:
    made = Conversation(
        Server("mx.example", "192.0.2.1", 25), Manner("me.example", "me.example", lmtp=lmtp), security=security
    )
    made.feed(b"220 mx.example ESMTP\r\n")
    assert made.take() == (b"LHLO me.example\r\n" if lmtp else b"EHLO me.example\r\n")
    return made


def ehlo(*keywords: str) -> bytes:
    return b"".join(f"250-{word}\r\n".encode() for word in ("mx.example", *keywords)) + b"250 NOOP\r\n"


def login(**changes: object) -> Login:
    return Login("alice", "secret", "nonce", **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("lmtp", [False, True])
def test_starttls_then_everything_anew(lmtp: bool) -> None:
    made = conversation(Security(wanted=True, required=True), lmtp=lmtp)
    made.feed(ehlo("STARTTLS", "PIPELINING"))
    assert made.take() == b"STARTTLS\r\n"
    made.feed(b"220 go\r\n")
    assert made.wants_tls and made.phase is Phase.GREETING and made.stage is None
    made.secured(b"", verified=False)
    assert made.take() == (b"LHLO me.example\r\n" if lmtp else b"EHLO me.example\r\n")
    assert "PIPELINING" not in made.server.keywords
    # RFC 3207 4.2: a server that offers it again is not obeyed.
    made.feed(ehlo("STARTTLS", "SIZE 1000"))
    assert (made.phase, made.take(), made.server.size_limit) == (Phase.READY, b"", 1000)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n250 half of a li"],
        [b"220 go\r\n", b"250-evil\r\n250 AUTH PLAIN\r\n"],
        [b"220 go\r\n\r\n"],
        [b"220 go\r\nno reply\r\n250 AUTH PLAIN\r\n"],
        [b"220 go\r\n250 AUTH PLAIN\r\nno reply\r\n"],
        [b"220 go\r\n", b"no reply\r\n"],
    ],
)
def test_what_is_slipped_in_behind_the_reply_to_starttls_is_thrown_away(pieces: list[bytes]) -> None:
    made = conversation(Security(wanted=True))
    made.feed(ehlo("STARTTLS"))
    made.take()
    for piece in pieces:
        made.feed(piece)
    assert made.wants_tls and not made.failure
    made.secured(b"", verified=False)
    assert made.take() == b"EHLO me.example\r\n"
    assert made.phase is Phase.GREETING
    made.feed(ehlo("DSN"))
    assert set(made.server.keywords) == {"DSN", "NOOP"}
    assert any("ignored" in note for note in made.notes)


@pytest.mark.parametrize(
    ("required", "offer", "reply", "dsn", "phase"),
    [
        (True, (), b"", "4.7.4", Phase.CLOSED),
        (True, ("STARTTLS",), b"454 4.7.0 not now\r\n", "4.7.4", Phase.CLOSED),
        (False, (), b"", "", Phase.READY),
        (False, ("STARTTLS",), b"454 4.7.0 not now\r\n", "", Phase.READY),
        (False, ("STARTTLS",), b"500 what\r\n", "", Phase.READY),
    ],
)
def test_no_tls(required: bool, offer: tuple[str, ...], reply: bytes, dsn: str, phase: Phase) -> None:
    made = conversation(Security(wanted=True, required=required))
    made.feed(ehlo(*offer))
    made.feed(reply)
    assert made.phase is phase
    assert (made.failure.dsn if made.failure else "") == dsn
    assert made.take().endswith(b"QUIT\r\n") is required


def test_helo_is_no_way_around_tls() -> None:
    made = conversation(Security(wanted=True, required=True))
    made.feed(b"502 no EHLO\r\n")
    assert made.take() == b"HELO me.example\r\n"
    made.feed(b"250 fine\r\n")
    assert made.failure is not None and made.failure.dsn == "4.7.4"


def test_a_failed_handshake_may_be_followed_by_plain_text_where_tls_is_optional() -> None:
    for required in (False, True):
        made = conversation(Security(wanted=True, required=required))
        handshake.tls_failed(made, "Cannot start TLS: handshake failure")
        assert made.security.failed is not required
        assert made.failure is not None and made.failure.dsn == "4.7.5"


def test_auth_plain_with_an_initial_response() -> None:
    made = conversation(Security(login=login()))
    made.feed(ehlo("AUTH LOGIN PLAIN"))
    assert made.take() == b"AUTH PLAIN " + base64.b64encode(b"\0alice\0secret") + b"\r\n"
    made.feed(b"235 2.7.0 ok\r\n")
    assert made.phase is Phase.READY and made.security.authenticated


def test_auth_login_step_by_step() -> None:
    made = conversation(Security(login=login(allowed=frozenset({"LOGIN"}))))
    made.feed(ehlo("AUTH LOGIN PLAIN"))
    assert made.take() == b"AUTH LOGIN\r\n"
    made.feed(b"334 VXNlcm5hbWU6\r\n")
    assert made.take() == base64.b64encode(b"alice") + b"\r\n"
    made.feed(b"334 UGFzc3dvcmQ6\r\n")
    assert made.take() == base64.b64encode(b"secret") + b"\r\n"
    made.feed(b"235 ok\r\n")
    assert made.phase is Phase.READY


@pytest.mark.parametrize(
    ("reply", "soft", "dsn"),
    [
        (b"535 5.7.8 wrong\r\n", True, "4.7.8"),
        (b"535 5.7.8 wrong\r\n", False, "5.7.8"),
        (b"454 4.7.0 later\r\n", True, "4.7.0"),
        (b"504 5.5.4 no such\r\n", True, "5.5.4"),
        (b"334 !!!\r\n", True, "4.7.0"),
    ],
)
def test_a_refused_password(reply: bytes, soft: bool, dsn: str) -> None:
    made = conversation(Security(login=login(soft_bounce=soft)))
    made.feed(ehlo("AUTH PLAIN"))
    made.take()
    made.feed(reply)
    assert made.failure is not None and made.failure.dsn == dsn
    assert made.phase is Phase.CLOSED


def test_no_password_in_the_clear_by_default() -> None:
    made = conversation(Security(login=login(plain_options=("noplaintext",))))
    made.feed(ehlo("AUTH PLAIN LOGIN"))
    assert made.failure is not None and "no mechanism available" in made.failure.text
    secure = conversation(Security(wanted=True, login=login(plain_options=("noplaintext",))))
    secure.feed(ehlo("STARTTLS"))
    secure.feed(b"220 go\r\n")
    secure.secured(b"", verified=False)
    secure.take()
    secure.feed(ehlo("AUTH PLAIN"))
    assert secure.take().startswith(b"AUTH PLAIN ")


def test_a_scram_server_that_does_not_prove_itself_is_not_believed() -> None:
    made = conversation(Security(login=login()))
    made.feed(ehlo("AUTH PLAIN SCRAM-SHA-256"))
    assert made.take().startswith(b"AUTH SCRAM-SHA-256 ")
    made.feed(b"235 2.7.0 welcome\r\n")
    assert made.failure is not None and made.phase is Phase.CLOSED
    assert not made.security.authenticated


# -- policies ------------------------------------------------------------------------------------------------------


def test_policies_of_a_table() -> None:
    assert policy.parse("may", DEFAULTS) == DEFAULTS.policy()
    found = policy.parse("secure match=a.example:.b.example protocols=TLSv1.3 ciphers=high exclude=MD5:DES", DEFAULTS)
    assert found == Policy("secure", "TLSv1.3", "high", ("MD5", "DES"), ("a.example", ".b.example"))
    assert policy.parse("encrypt", DEFAULTS) == Policy("encrypt", ">=TLSv1.2", "high", ("RC4", "SHA1"))
    named = policy.parse("may servername=a.example connection_reuse=yes connection_reuse=no", DEFAULTS)
    assert (named.servername, named.reuse) == ("a.example", False)
    assert policy.parse("verify match=a match=b:c", DEFAULTS).matches == ("a", "b", "c")
    assert policy.parse("fingerprint match=AA:BB|CC:DD", DEFAULTS).matches == ("AA:BB", "CC:DD")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dane",
        "may match=x",
        "encrypt foo",
        "encrypt ciphers=null",
        "fingerprint",
        "none protocols=TLSv1.3",
        "may ciphers=high ciphers=medium",
        "may protocols=TLSv1.3 PROTOCOLS=TLSv1.2",
        "may servername=-",
        "may servername=a_b",
        "encrypt connection_reuse=maybe",
        "none connection_reuse=yes",
        "may tafile=/x",
    ],
)
def test_policies_that_are_none(text: str) -> None:
    with pytest.raises(PolicyError):
        policy.parse(text, DEFAULTS)


def test_lookup_keys() -> None:
    assert policy.lookup_keys("Mail.Example.ORG") == ["mail.example.org", ".example.org", ".org"]
    assert policy.lookup_keys("[mail.example.org]:587") == ["[mail.example.org]:587"]


@pytest.mark.parametrize(
    ("matches", "names", "accepted"),
    [
        (("hostname",), ("mx1.example",), True),
        (("nexthop",), ("mx1.example",), False),
        (("nexthop",), ("example.org",), True),
        (("dot-nexthop",), ("a.example.org",), True),
        (("dot-nexthop",), ("example.org",), False),
        (("dot-nexthop",), ("evilexample.org",), False),
        (("nexthop",), ("*.org",), False),
        ((".example.org",), ("*.example.org",), True),
        ((), ("mx1.example",), False),
        (("",), ("mx1.example",), False),
        (("hostname",), (), False),
    ],
)
def test_names_of_a_certificate(matches: tuple[str, ...], names: tuple[str, ...], accepted: bool) -> None:
    certificate = PeerCertificate("x", "y", "AA", "BB", names)
    found = Policy("secure", matches=matches)
    assert policy.is_accepted(found, certificate, "mx1.example", "example.org") is accepted
    assert policy.is_accepted(Policy("encrypt"), None, "mx1.example", "example.org")


@pytest.mark.parametrize("name", ["CRAM-MD5", "LOGIN", "PLAIN", "XOAUTH2", "SCRAM-SHA-1"])
def test_a_server_that_asks_for_ever_is_left(name: str) -> None:
    made = conversation(Security(login=login()))
    made.feed(ehlo(f"AUTH {name}"))
    assert made.take().startswith(f"AUTH {name}".encode())
    for _ in range(20):
        made.feed(b"334 eA==\r\n")
    assert made.phase is Phase.CLOSED
    assert made.failure is not None and made.failure.dsn == "4.7.0"


def test_a_star_may_stand_for_several_labels() -> None:
    certificate = PeerCertificate("x", "y", "AA", "BB", ("*.example.net",))
    for several in (True, False):
        found = replace(DEFAULTS, several=several).policy("verify")
        assert policy.is_accepted(found, certificate, "example.com.mx1.example.net", "example.com") is several
        assert policy.is_accepted(found, certificate, "mx1.example.net", "example.com")
        assert not policy.is_accepted(found, certificate, "example.net", "example.com")


def test_what_the_server_said_in_the_clear_is_not_kept_by_helo() -> None:
    """RFC 3207 4.2: neither the keywords nor what they allow."""
    made = conversation(Security(wanted=True))
    made.feed(ehlo("STARTTLS", "PIPELINING"))
    made.take()
    made.feed(b"220 go\r\n")
    made.secured(b"", verified=False)
    made.take()
    made.feed(b"500 what\r\n")
    assert made.take() == b"HELO me.example\r\n"
    made.feed(b"250 mx.example\r\n")
    people = [Recipient(address="b@example.org")]
    made.begin(Mail(Envelope(sender="a@example.org", arrival_time=0), "a@example.org", people, ["b@example.org"], 5))
    assert made.take() == b"MAIL FROM:<a@example.org>\r\n"


def test_fingerprints() -> None:
    certificate = PeerCertificate("x", "y", "AA:BB", "", ())
    assert policy.is_accepted(Policy("fingerprint", matches=("aa:bb",)), certificate, "", "")
    assert not policy.is_accepted(Policy("fingerprint", matches=("",)), certificate, "", "")
    assert not policy.is_accepted(Policy("fingerprint", matches=("AA:BB",)), None, "", "")
