"""The examples of RFC 5322 (appendix A), RFC 2047 (section 8) and RFC 2231 (sections 3 to 5)."""

import pytest

from tubepost.common.mail.addresslist import extract_addresses
from tubepost.common.mail.envelope import Address, parse_addresses
from tubepost.common.mail.mime import parse_content_type
from tubepost.common.mail.text import decode_value

# Section, the field's value, who it names: display name and address. A group has its name, then None at its end.
ADDRESSES: list[tuple[str, str, list[tuple[str, str]]]] = [
    ("A.1.1", "John Doe <jdoe@machine.example>", [("John Doe", "jdoe@machine.example")]),
    ("A.1.2", '"Joe Q. Public" <john.q.public@example.com>', [("Joe Q. Public", "john.q.public@example.com")]),
    (
        "A.1.2",
        "Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>",
        [("Mary Smith", "mary@x.test"), ("", "jdoe@example.org"), ("Who?", "one@y.test")],
    ),
    (
        "A.1.2",
        '<boss@nil.test>, "Giant; \\"Big\\" Box" <sysservices@example.net>',
        [("", "boss@nil.test"), ('Giant; "Big" Box', "sysservices@example.net")],
    ),
    (
        "A.1.3",
        "A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;",
        [("Ed Jones", "c@a.test"), ("", "joe@where.test"), ("John", "jdoe@one.test")],
    ),
    ("A.1.3", "Undisclosed recipients:;", []),
    (
        "A.5",
        "Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>",
        [("Pete", "pete@silly.test")],
    ),
    (
        "A.5",
        "A Group(Some people)\n     :Chris Jones <c@(Chris's host.)public.example>,\n         joe@example.org,\n"
        "  John <jdoe@one.test> (my dear friend); (the end of the group)",
        [("Chris Jones", "c@public.example"), ("", "joe@example.org"), ("John", "jdoe@one.test")],
    ),
    ("A.5", "(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;", []),
    ("A.6.1", "Joe Q. Public <john.q.public@example.com>", [("Joe Q. Public", "john.q.public@example.com")]),
    (
        "A.6.1",
        "Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example",
        [("Mary Smith", "mary@example.net"), ("", "jdoe@test.example")],
    ),
    ("A.6.3", "John Doe <jdoe@machine(comment).  example>", [("John Doe", "jdoe@machine.example")]),
    ("A.6.3", "Mary Smith\n  \n          <mary@example.net>", [("Mary Smith", "mary@example.net")]),
]


@pytest.mark.parametrize(("section", "value", "expected"), ADDRESSES)
def test_addresses(section: str, value: str, expected: list[tuple[str, str]]) -> None:
    assert [address.rpartition(":")[2] for address in extract_addresses(value)] == [address for _, address in expected]
    named = [found for found in parse_addresses(value.replace("\n", "").encode()) if found.host]
    assert [_shown(found) for found in named] == expected


def _shown(found: Address) -> tuple[str, str]:
    assert found.mailbox is not None and found.host is not None
    return (found.name or b"").decode(), f"{found.mailbox.decode()}@{found.host.decode()}"


def test_groups() -> None:
    # RFC 9051 7.5.2: a group begins with its name and ends with nothing.
    found = parse_addresses(b"Undisclosed recipients:;")
    assert [(one.mailbox, one.host) for one in found] == [(b"Undisclosed recipients", None), (None, None)]


@pytest.mark.parametrize(
    ("coded", "shown"),
    [
        ("=?US-ASCII?Q?Keith_Moore?= <moore@cs.utk.edu>", "Keith Moore <moore@cs.utk.edu>"),
        ("=?ISO-8859-1?Q?Keld_J=F8rn_Simonsen?= <keld@dkuug.dk>", "Keld Jørn Simonsen <keld@dkuug.dk>"),
        ("=?ISO-8859-1?Q?Andr=E9?= Pirard <PIRARD@vm1.ulg.ac.be>", "André Pirard <PIRARD@vm1.ulg.ac.be>"),
        (
            "=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=\r\n "
            "=?ISO-8859-2?B?dSB1bmRlcnN0YW5kIHRoZSBleGFtcGxlLg==?=",
            "If you can read this you understand the example.",
        ),
        ("=?ISO-8859-1?Q?Patrik_F=E4ltstr=F6m?= <paf@nada.kth.se>", "Patrik Fältström <paf@nada.kth.se>"),
        (
            "Nathaniel Borenstein <nsb@thumper.bellcore.com>\r\n (=?iso-8859-8?b?7eXs+SDv4SDp7Oj08A==?=)",
            "Nathaniel Borenstein <nsb@thumper.bellcore.com> (םולש ןב ילטפנ)",
        ),
        ("(=?ISO-8859-1?Q?a?=)", "(a)"),
        ("(=?ISO-8859-1?Q?a?= b)", "(a b)"),
        ("(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)", "(ab)"),
        ("(=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=)", "(ab)"),
        ("(=?ISO-8859-1?Q?a?=\r\n    =?ISO-8859-1?Q?b?=)", "(ab)"),
        ("(=?ISO-8859-1?Q?a_b?=)", "(a b)"),
        ("(=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=)", "(a b)"),
        # RFC 2231 5: with a language.
        ("=?US-ASCII*EN?Q?Keith_Moore?= <moore@cs.utk.edu>", "Keith Moore <moore@cs.utk.edu>"),
    ],
)
def test_encoded_words(coded: str, shown: str) -> None:
    assert decode_value(coded.encode()) == shown


@pytest.mark.parametrize(
    ("value", "parameters"),
    [
        # RFC 2231 3 and 4: each piece is told as it stands; putting them together is the client's (RFC 9051 7.5.2).
        (
            b'message/external-body; access-type=URL;\r\n URL*0="ftp://";\r\n URL*1="cs.utk.edu/pub/bulk.tar"',
            ((b"access-type", b"URL"), (b"url*0", b"ftp://"), (b"url*1", b"cs.utk.edu/pub/bulk.tar")),
        ),
        (
            b"application/x-stuff; title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A",
            ((b"title*", b"us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A"),),
        ),
        (
            b"application/x-stuff; title*0*=us-ascii'en'This%20is%20even%20more%20;\r\n"
            b' title*1*=%2A%2A%2Afun%2A%2A%2A%20;\r\n title*2="isn\'t it!"',
            (
                (b"title*0*", b"us-ascii'en'This%20is%20even%20more%20"),
                (b"title*1*", b"%2A%2A%2Afun%2A%2A%2A%20"),
                (b"title*2", b"isn't it!"),
            ),
        ),
    ],
)
def test_parameters_in_pieces(value: bytes, parameters: tuple[tuple[bytes, bytes], ...]) -> None:
    assert parse_content_type(value).parameters == parameters
