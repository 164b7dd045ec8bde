"""The restriction language, the limits and XCLIENT against a real Postfix: many servers, each with settings of its own,
the same lines to both, the same replies.

Not in it, where we differ on purpose: after a refusal at the end of data the message is over (RFC 5321 4.1.1.4), an
address with a quoted local part is shown quoted, and what Postfix 3.7 does not have.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.instance import Instance, free_port
from tests.fakes.postfix import UNUSABLE, PostfixPeer
from tests.interop.test_smtpd_replies import SETTINGS, talk

pytestmark = pytest.mark.skipif(bool(UNUSABLE), reason=UNUSABLE)

E, M, R, B = "EHLO c.test", "MAIL FROM:<x@s.test>", "RCPT TO:<alice@example.test>", "RCPT TO:<bob@example.test>"
NOBODY, FAR = "RCPT TO:<no@example.test>", "RCPT TO:<x@far.test>"
MESSAGE = "Subject: x\r\n\r\nbody\r\n."

ACTIONS = {
    "reject": "REJECT",
    "text": "REJECT go away",
    "status": "REJECT 5.1.1 no such",
    "class4": "REJECT 4.7.1 odd class",
    "c550": "550 nope",
    "s550": "550 5.7.9 nope",
    "c450": "450 later",
    "c299": "299 what",
    "c600": "600 what",
    "c55": "55 what",
    "number": "12345",
    "ok": "OK for you",
    "relay": "RELAY",
    "dunno": "DUNNO text",
    "defer": "DEFER",
    "defertext": "DEFER 4.2.0 full",
    "dip": "DEFER_IF_PERMIT 4.3.0 doubt",
    "dir": "DEFER_IF_REJECT perhaps",
    "warn": "WARN hm",
    "info": "INFO hm",
    "hold": "HOLD",
    "filter": "FILTER x",
    "prepend": "PREPEND X-A: b",
    "prependno": "PREPEND nothing",
    "redirect": "REDIRECT nobody",
    "bcc": "BCC nobody",
    "discard": "DISCARD quietly",
    "class": "strict",
    "lax": "lax",
    "list": "permit_mynetworks, reject",
    "list2": "reject_unauth_destination, permit",
    "unknown": "no_such_thing",
    "map": "hash:/etc/x",
    "warned": "warn_if_reject reject",
    "pad": "  REJECT  padded  ",
    "tab": "550\ttab",
    "c421": "421 4.7.1 bye",
    "c521": "521 5.7.1 bye",
}
LAST = ("c421", "c521")
TABLE = "check_sender_access texthash:$config_directory/actions"
AT_RCPT = [E, *(line for name in ACTIONS if name not in LAST for line in (f"MAIL FROM:<{name}@s.test>", R, "RSET"))]
CHOSEN = ("reject", "c450", "dip", "class", "unknown", "map", "status")
AT_DATA = [E, *(line for name in CHOSEN for line in (f"MAIL FROM:<{name}@s.test>", R, "DATA", "RSET"))]
QUEUED = ("hold", "prepend", "discard", "ok", "warned")
HELOS = (
    "localhost a.b a.b. a..b 1.2.3.4 [1.2.3.4] [1.2.3.4 [IPv6:::1] [::1] ::1 -a.b a-.b a_b.c a.b- a.123 [] 1.2.3 a.b.."
)
STRICT = ("x@s.test", "<x@s.test>", " <x@s.test>", "<x>", "<x y@s.test>", "<@r.test:x@s.test>", "<x@s.test.>", "<>")
UMLAUT = "b\u00fc"

SERVERS: dict[str, tuple[dict[str, str], list[list[str]]]] = {
    "actions": (
        {"smtpd_recipient_restrictions": TABLE},
        [
            AT_RCPT,
            [E, *(line for name in QUEUED for line in (f"MAIL FROM:<{name}@s.test>", R, "DATA", MESSAGE))],
            *([E, f"MAIL FROM:<{name}@s.test>", R] for name in LAST),
        ],
    ),
    "actions before reject": ({"smtpd_recipient_restrictions": f"{TABLE}, reject"}, [AT_RCPT]),
    "actions at once": ({"smtpd_delay_reject": "no", "smtpd_sender_restrictions": TABLE}, [AT_RCPT]),
    "actions at data": ({"smtpd_data_restrictions": TABLE}, [AT_DATA]),
    "helo at once": (
        {"smtpd_delay_reject": "no", "smtpd_helo_restrictions": "check_helo_access texthash:$config_directory/names"},
        [
            ["EHLO bad.test", M, R, "EHLO a.good.test", M, "EHLO x.bad.test", R, "DATA", MESSAGE],
            ["HELO hold.test", "HELO dip.test", M, R, "RSET", "HELO ok.test", M, R, "RSET", "ETRN example.test"],
        ],
    ),
    "helo delayed": (
        {"smtpd_helo_restrictions": "check_helo_access texthash:$config_directory/names"},
        [
            ["EHLO bad.test", M, R, "EHLO a.good.test", M, R, "EHLO x.bad.test", M, R, "HELO dip.test", M, R],
            ["HELO hold.test", M, R, "DATA", MESSAGE, "HELO bad.test", "ETRN example.test", "VRFY bob@far.test"],
        ],
    ),
    "helo names": (
        {
            "smtpd_delay_reject": "no",
            "smtpd_helo_restrictions": "reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname",
        },
        [[f"HELO {name}" for name in (*HELOS.split(), "x" * 64 + ".b")]],
    ),
    "helo required": (
        {"smtpd_helo_required": "yes"},
        [[M, "ETRN example.test", "VRFY alice@example.test", "RCPT TO:<a@b>", "DATA", "NOOP", "RSET", "HELO x", M, R]],
    ),
    "client": ({"smtpd_client_restrictions": "permit_mynetworks, reject"}, [[E, M, R]]),
    "classes": ({"smtpd_recipient_restrictions": "lax, strict"}, [[E, M, R]]),
    "doubt of the client": (
        {"smtpd_client_restrictions": "defer_if_permit", "smtpd_recipient_restrictions": "permit"},
        [[E, M, R, "ETRN example.test", "RSET", "VRFY alice@example.test"]],
    ),
    "doubt, then reject": ({"smtpd_recipient_restrictions": "defer_if_reject, reject"}, [[E, M, R]]),
    "both doubts": ({"smtpd_recipient_restrictions": "defer_if_reject, defer_if_permit, reject"}, [[E, M, R]]),
    "doubt of the sender": (
        {"smtpd_sender_restrictions": "defer_if_permit", "smtpd_recipient_restrictions": "reject"},
        [[E, M, R, R]],
    ),
    "doubt of the relay list": (
        {
            "smtpd_relay_restrictions": "defer_if_reject, permit_mynetworks, reject_unauth_destination",
            "smtpd_recipient_restrictions": "reject",
        },
        [[E, M, R, FAR]],
    ),
    "warnings": (
        {"smtpd_recipient_restrictions": "warn_if_reject reject, warn_if_reject defer_if_permit, permit"},
        [[E, M, R]],
    ),
    "warning of a class": (
        {"smtpd_recipient_restrictions": "warn_if_reject strict, reject_unauth_destination"},
        [[E, M, R, FAR]],
    ),
    "warning of nothing": ({"smtpd_recipient_restrictions": "warn_if_reject"}, [[E, M, R, NOBODY]]),
    "warning of nobody": (
        {"smtpd_recipient_restrictions": "warn_if_reject reject_unlisted_recipient, permit"},
        [[E, M, NOBODY]],
    ),
    "mistake": ({"smtpd_recipient_restrictions": "no_such_restriction, permit"}, [[E, M, R]]),
    "etrn": (
        {"smtpd_etrn_restrictions": "check_etrn_access inline:{bad.test=REJECT,.sub.test=REJECT}, permit"},
        [
            [
                E,
                *(
                    f"ETRN {name}"
                    for name in ("bad.test", "a.sub.test", "@bad.test", "#bad.test", "[127.0.0.1]", "x.test")
                ),
            ],
            [E, M, "ETRN bad.test"],
        ],
    ),
    "footer": ({"smtpd_reject_footer": "\\c. call $client_name <$sender> at $server_name"}, [[E, "FOO", M, NOBODY, M]]),
    "footer of lines": ({"smtpd_reject_footer": "one\\ntwo ${client_address}"}, [[E, "FOO", M, NOBODY]]),
    "soft bounce": ({"soft_bounce": "yes"}, [[E, "FOO", "VRFY", M, NOBODY, FAR, "DATA"]]),
    "commands": (
        {"smtpd_noop_commands": "foo, bar", "smtpd_forbidden_commands": "CONNECT GET evil"},
        [[E, "FOO x", "bar", "EVIL now"], ["Subject: x"], ["GET /"], ["Received : x", "NOOP"]],
    ),
    "command filter": ({"smtpd_command_filter": "inline:{{FOO=NOOP}}"}, [[E, "FOO", "FOO ", " FOO", M]]),
    "no vrfy": ({"disable_vrfy_command": "yes"}, [[E, "VRFY alice@example.test", "VRFY"]]),
    "strict": (
        {"strict_rfc821_envelopes": "yes"},
        [
            [E, *(line for path in STRICT for line in (f"MAIL FROM:{path}", f"RCPT TO:{path}", "RSET"))],
            [E, M, "RCPT TO:<postmaster>", "RCPT TO:<alice>"],
        ],
    ),
    "codes": (
        {
            "reject_code": "571",
            "access_map_reject_code": "572",
            "relay_domains_reject_code": "573",
            "unknown_virtual_mailbox_reject_code": "450",
            "non_fqdn_reject_code": "575",
            "multi_recipient_bounce_reject_code": "576",
            "smtpd_recipient_restrictions": "reject_multi_recipient_bounce, reject_non_fqdn_sender, "
            f"reject_non_fqdn_recipient, {TABLE}",
            "show_user_unknown_table_name": "no",
        },
        [
            [E, "MAIL FROM:<>", R, B, "RSET", "MAIL FROM:<x@nodots>", R, "RSET", M, NOBODY, FAR, "RCPT TO:<x@nodots>"],
            [E, "MAIL FROM:<reject@s.test>", R],
        ],
    ),
    "bounce to many at data": (
        {"smtpd_data_restrictions": "reject_multi_recipient_bounce"},
        [[E, "MAIL FROM:<>", R, B, "DATA", "DATA"]],
    ),
    "bounce to many at the end": (
        {"smtpd_end_of_data_restrictions": "reject_multi_recipient_bounce"},
        [[E, "MAIL FROM:<>", R, B, "DATA", MESSAGE, "RSET"]],
    ),
    "unlisted senders": (
        {"smtpd_reject_unlisted_sender": "yes"},
        [[E, "MAIL FROM:<no@example.test>", R, "RSET", "MAIL FROM:<alice@example.test>", R, "RSET", "MAIL FROM:<>", R]],
    ),
    "unlisted let in": ({"smtpd_reject_unlisted_recipient": "no"}, [[E, M, NOBODY, "VRFY no@example.test"]]),
    "no checks": ({"receive_override_options": "no_unknown_recipient_checks"}, [[E, M, NOBODY]]),
    "domains": (
        {"smtpd_relay_restrictions": "permit_auth_destination, reject"},
        [
            [
                *(E, M, FAR, NOBODY, R),
                *(
                    f"RCPT TO:<{address}>"
                    for address in (
                        "x@relay.test",
                        "x@sub.relay.test",
                        "x%far.test@relay.test",
                        "far.test!x@relay.test",
                        "alias@alias.test",
                        "no@alias.test",
                    )
                ),
            ]
        ],
    ),
    "relay deferred": ({"smtpd_relay_restrictions": "defer_unauth_destination"}, [[E, M, FAR, R]]),
    "errors": (
        {"smtpd_soft_error_limit": "2", "smtpd_hard_error_limit": "4"},
        [
            [E, "FOO", "FOO", "FOO", "FOO"],
            [E, M, NOBODY, NOBODY, NOBODY, R, NOBODY],
            [E, "FOO", "FOO", M, R, "DATA", MESSAGE, "FOO", "FOO", "FOO", "FOO"],
        ],
    ),
    "junk": (
        {"smtpd_junk_command_limit": "2", "smtpd_hard_error_limit": "3"},
        [
            ["NOOP"] * 6,
            [E, "RSET", "VRFY alice@example.test", "HELO x", "NOOP", "ETRN x.test"],
            ["NOOP", "NOOP", E, M, R, "DATA", MESSAGE, *["NOOP"] * 6],
        ],
    ),
    "too many recipients": (
        {"smtpd_recipient_limit": "2", "smtpd_recipient_overshoot_limit": "1", "smtpd_hard_error_limit": "3"},
        [[E, M, R, B, R, R, R, R]],
    ),
    "xclient": (
        {
            "smtpd_authorized_xclient_hosts": "127.0.0.1",
            "smtpd_authorized_xforward_hosts": "127.0.0.1",
            "smtpd_delay_reject": "no",
            "smtpd_client_restrictions": "check_client_access texthash:$config_directory/names",
        },
        [
            [E, *(f"XCLIENT {words}".strip() for words in ("", "FOO=1", "NAME", "NAME=", "NAME=a..b", "ADDR=1.2.3"))],
            [E, *(f"XCLIENT {words}" for words in ("PORT=x", "PORT=1234567", "PROTO=FOO", "HELO=" + "x" * 256))],
            ["XCLIENT HELO=a+20b", M, R, "XCLIENT NAME=z", "RSET", "XCLIENT NAME=bad.test", M, "QUIT"],
            [E, *(f"XFORWARD {words}".strip() for words in ("", "FOO=1", "NAME", "NAME=a..b", "ADDR=1.2.3", "PORT=x"))],
            [E, *(f"XFORWARD {words}" for words in ("PROTO=" + "x" * 65, "SOURCE=x", "SOURCE=LOCAL", "DOMAIN=LOCAL"))],
            [
                E,
                "XFORWARD NAME=[UNAVAILABLE] ADDR=[UNAVAILABLE]",
                "XFORWARD NAME=[TEMPUNAVAIL]",
                M,
                "XFORWARD NAME=a.b",
            ],
            ["XCLIENT NAME=c.test ADDR=192.0.2.9", "HELO c", M, R, FAR, "XCLIENT NAME=d", "RSET", "XCLIENT NAME=d"],
            ["XCLIENT ADDR=[UNAVAILABLE] NAME=[TEMPUNAVAIL] REVERSE_NAME=[TEMPUNAVAIL]", "HELO c", M, R],
            ["XCLIENT NAME=hang.test"],
            ["XCLIENT NAME=c521.test"],
        ],
    ),
    "names of clients": (
        {
            "smtpd_authorized_xclient_hosts": "127.0.0.1",
            "smtpd_client_restrictions": "reject_unknown_reverse_client_hostname, reject_unknown_client_hostname",
        },
        [
            [f"XCLIENT {words}", E, M, R]
            for words in (
                "NAME=[TEMPUNAVAIL]",
                "NAME=[UNAVAILABLE]",
                "NAME=c.test",
                "NAME=[UNAVAILABLE] REVERSE_NAME=c.test",
                "NAME=[TEMPUNAVAIL] REVERSE_NAME=c.test",
            )
        ],
    ),
    "reverse names": (
        {
            "smtpd_authorized_xclient_hosts": "127.0.0.1",
            "smtpd_client_restrictions": "check_reverse_client_hostname_access texthash:$config_directory/names",
        },
        [[f"XCLIENT NAME=[UNAVAILABLE] REVERSE_NAME={name}.test", E, M, R] for name in ("bad", "ok", "other")],
    ),
    "chunks": (
        {"smtpd_discard_ehlo_keywords": "binarymime limits"},
        [
            ["BDAT 0", M, "BDAT 0 LAST", M, R, "BDAT 0", "BDAT 0 LAST", M, R, "BDAT 4 LAST\r\nab", "RSET"],
            [E, M, R, "BDAT 3\r\na", R, M, "DATA", "BDAT 0 LAST", "NOOP"],
            *([E, f"BDAT {words}".strip()] for words in ("", "x", "1 2", "-1")),
            [E, M, R, "BDAT 100001 LAST\r\n" + "x" * 99_999],
            [E, M, R, "BDAT 90000\r\n" + "x" * 89_998, "BDAT 20000 LAST\r\n" + "x" * 19_998, "NOOP", M],
        ],
    ),
    "policy": (
        {
            "smtpd_recipient_restrictions": "check_policy_service inet:127.0.0.1:1",
            "smtpd_policy_service_try_limit": "1",
        },
        [[E, M, R]],
    ),
    "policy of its own": (
        {
            "smtpd_recipient_restrictions": "check_policy_service "
            "{ inet:127.0.0.1:1, { default_action = 451 4.3.5 later, please } try_limit=1 }"
        },
        [[E, M, R]],
    ),
    "logins without auth": (
        {
            "smtpd_sender_login_maps": "inline:{ {boss@s.test = alice} }",
            "smtpd_sender_restrictions": "reject_sender_login_mismatch, reject_known_sender_login_mismatch",
        },
        [[E, "MAIL FROM:<boss@s.test>", R]],
    ),
    "plaintext": ({"smtpd_recipient_restrictions": "reject_plaintext_session"}, [[E, M, R]]),
    "one list does not open the next": (
        {
            "smtpd_client_restrictions": "permit",
            "smtpd_sender_restrictions": "permit",
            "smtpd_recipient_restrictions": "reject_unlisted_recipient, reject_unauth_pipelining, "
            "permit_inet_interfaces, reject",
        },
        [[E, M, R, NOBODY]],
    ),
    "bare newline refused": (
        {"smtpd_forbid_bare_newline": "reject"},
        [[E, M, R, "DATA", "a\nb\r\n."], [E, M, R, "DATA", "a\n.\r\nb\r\n."]],
    ),
    "bare newline": (
        {"smtpd_forbid_bare_newline": "normalize"},
        [
            [E, M, R, "DATA", text, "NOOP"]
            for text in ("a\nb\r\n.", "a\n.\r\nMAIL FROM:<x>\r\n.", "a\r\n.\nMAIL FROM:<x>\r\n.", "a\n.\nb\r\n.")
        ],
    ),
    "verp": (
        {"smtpd_authorized_verp_clients": "127.0.0.1"},
        [
            [
                E,
                *(f"{M} XVERP{words}" for words in ("=x", "=abc", "X", "=")),
                *(line for words in ("", "=+=", "=-=") for line in (f"{M} XVERP{words}", "RSET")),
                "MAIL FROM:<> XVERP",
            ]
        ],
    ),
    "utf8": (
        {},
        [
            [E, f"MAIL FROM:<{UMLAUT}@s.test>", R, "RSET", f"MAIL FROM:<x@{UMLAUT}.test>"],
            [
                E,
                f"MAIL FROM:<x@{UMLAUT}.test> SMTPUTF8",
                f"RCPT TO:<{UMLAUT}@example.test>",
                f"RCPT TO:<x@{UMLAUT}.test>",
            ],
            [E, M, f"RCPT TO:<{UMLAUT}@example.test>", f"VRFY {UMLAUT}@example.test", "VRFY SMTPUTF8"],
            [E, f"VRFY {UMLAUT}@example.test SMTPUTF8"],
        ],
    ),
    "utf8 strict": (
        {"strict_smtputf8": "yes"},
        [[E, f"MAIL FROM:<{UMLAUT}@s.test>", M, f"RCPT TO:<{UMLAUT}@example.test>", f"VRFY {UMLAUT}@example.test"]],
    ),
    "utf8 off": (
        {"smtputf8_enable": "no"},
        [[E, f"MAIL FROM:<{UMLAUT}@s.test>", "RSET", f"MAIL FROM:<x@{UMLAUT}.test>", "RSET", f"{M} SMTPUTF8", "VRFY"]],
    ),
    "null sender": (
        {
            "smtpd_null_access_lookup_key": "null",
            "smtpd_recipient_restrictions": "check_sender_access inline:{null=REJECT null}",
        },
        [[E, "MAIL FROM:<>", R]],
    ),
    "withheld": (
        {"smtpd_discard_ehlo_keywords": "dsn size 8bitmime vrfy etrn chunking binarymime limits silent-discard"},
        [
            [
                E,
                f"{M} RET=FULL",
                f"{M} ENVID=a",
                M,
                f"{R} NOTIFY=NEVER",
                "VRFY alice@example.test",
                "RSET",
                "ETRN x.test",
            ],
            [E, f"{M} SIZE=1", "RSET", f"{M} BODY=8BITMIME"],
        ],
    ),
}
_OWN = ("smtpd_recipient_limit", "smtpd_helo_restrictions", "smtpd_sender_restrictions")
COMMON = {
    **{name: value for name, value in SETTINGS.items() if name not in _OWN},
    "relay_domains": "relay.test",
    "virtual_alias_domains": "alias.test",
    "virtual_alias_maps": "inline:{alias@alias.test=alice@example.test}",
    "smtpd_restriction_classes": "strict, lax",
    "strict": "reject",
    "lax": "permit_mynetworks",
    "smtpd_client_message_rate_limit": "0",
}
NAMES = """bad.test REJECT
hold.test HOLD
dip.test DEFER_IF_PERMIT
ok.test OK
hang.test HANGUP
c521.test 521 5.7.1 bye
"""


def server_lines(ports: dict[str, int]) -> list[str]:
    """Of master.cf."""
    return [
        f"127.0.0.1:{ports[name]} inet n - n - - smtpd\n"
        + "".join(f"  -o {{ {parameter} = {value} }}\n" for parameter, value in settings.items())
        for name, (settings, _) in SERVERS.items()
    ]


def write_tables(conf: Path) -> None:
    (conf / "senders").write_text("")
    (conf / "actions").write_text("".join(f"{name}@s.test {action}\n" for name, action in ACTIONS.items()))
    (conf / "names").write_text(NAMES)


@pytest.fixture(scope="module")
def ports() -> Iterator[tuple[dict[str, int], dict[str, int]]]:
    ours, theirs = ({name: free_port() for name in SERVERS} for _ in range(2))
    maps = "inline:{alice@example.test=alice/,bob@example.test=bob/}"
    peer = PostfixPeer(
        {**COMMON, "myhostname": "mail.example.test", "virtual_mailbox_maps": maps, "mydestination": ""},
        server_lines(theirs),
    )
    instance = Instance(
        main={**COMMON, "smtpd_tls_security_level": "none", "mydestination": "", "disable_dns_lookups": "yes"},
        master=server_lines(ours),
    )
    for conf in (peer.root / "conf", instance.conf):
        write_tables(conf)
    with peer, instance:
        yield ours, theirs
        assert not instance.log.count("panic|Traceback")


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.5"])
def test_the_same_replies(ports: tuple[dict[str, int], dict[str, int]], name: str, source: str) -> None:
    for lines in SERVERS[name][1]:
        our, their = (talk(side[name], lines, source) for side in ports)
        different = [
            f"{line[:100]}\n  theirs: {there}  ours:   {here}"
            for line, there, here in zip(["", *lines], their, our, strict=False)
            if here != there
        ]
        assert not different, "\n" + "\n".join(different)
        assert len(our) == len(their)
