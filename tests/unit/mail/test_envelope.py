"""Envelopes: addresses of every shape, fields that are missing, empty or doubled."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.mail import addresslist
from tubepost.common.mail.envelope import GROUP_END, Address, parse_addresses, read
from tubepost.common.mail.structure import parse


def plain(mailbox: bytes, host: bytes, name: bytes | None = None) -> Address:
    return Address(name, None, mailbox, host)


def group(name: bytes) -> Address:
    return Address(None, None, name, None)


@pytest.mark.parametrize(
    ("value", "addresses"),
    [
        (b" user@domain", [plain(b"user", b"domain")]),
        (b"user@domain (Real Name)", [plain(b"user", b"domain", b"Real Name")]),
        (b"From Real <u@d.org>", [plain(b"u", b"d.org", b"From Real")]),
        (b'"Real, Name" <u@d>,b@c\r', [plain(b"u", b"d", b"Real, Name"), plain(b"b", b"c")]),
        (b'"J. \\"Q\\" X" <"a b"@c>, Mr. T. <t@x>', [plain(b"a b", b"c", b'J. "Q" X'), plain(b"t", b"x", b"Mr. T.")]),
        (b"  A\t B   C <a@b>", [plain(b"a", b"b", b"A B C")]),
        (b"a\r\n b <a@b>,\n <c@d>", [plain(b"a", b"b", b"a b"), plain(b"c", b"d")]),
        (b"<@route:user@domain>", [Address(None, b"@route", b"user", b"domain")]),
        (b"N <@a,@b:user@domain>", [Address(b"N", b"@a,@b", b"user", b"domain")]),
        (
            b"group: g1@d1.org, g2@d2.org;, group2: g3@d3.org;",
            [
                group(b"group"),
                plain(b"g1", b"d1.org"),
                plain(b"g2", b"d2.org"),
                GROUP_END,
                group(b"group2"),
                plain(b"g3", b"d3.org"),
                GROUP_END,
            ],
        ),
        (b"group:;, group2: (foo) ;", [group(b"group"), GROUP_END, group(b"group2"), GROUP_END]),
        (b"undisclosed-recipients:", [group(b"undisclosed-recipients"), GROUP_END]),
        (b'"My group":a@b;', [group(b"My group"), plain(b"a", b"b"), GROUP_END]),
        (b"<user-from (comment)@ (comment) domain.org>", [plain(b"user-from", b"domain.org", b"comment")]),
        (b"joe @ example . com", [plain(b"joe", b"example.com")]),
        (b"a@b c@d", [plain(b"a", b"b"), plain(b"c", b"d")]),
        (b"a@[192.0.2.1]", [plain(b"a", b"[192.0.2.1]")]),
        (b"=?utf-8?q?J=C3=B6rg?= <j@x>", [plain(b"j", b"x", b"=?utf-8?q?J=C3=B6rg?=")]),
        (b"J\xc3\xb6rg <j@x>", [plain(b"j", b"x", b"J\xc3\xb6rg")]),
        (b"root", [plain(b"root", b"MISSING_DOMAIN")]),
        (b"Mail System <>", [plain(b"MISSING_MAILBOX", b"MISSING_DOMAIN", b"Mail System")]),
        (b"John Doe", [plain(b"MISSING_MAILBOX", b"MISSING_DOMAIN", b"John Doe")]),
        (b"<a@b", [plain(b"a", b"b")]),
        (b"a@b (c (nested) \\) d)", [plain(b"a", b"b", b"c (nested) ) d")]),
        (b"", []),
        (b" , ,\r", []),
        (b"(only a comment)", []),
    ],
)
def test_addresses(value: bytes, addresses: list[Address]) -> None:
    assert list(parse_addresses(value)) == addresses


def test_sender_and_reply_to_are_from_where_missing_or_empty() -> None:
    env = read(parse(b"From: a@b\nSender: \nDate: x\n\n").fields)
    assert env.sender == env.reply_to == env.from_ == (plain(b"a", b"b"),)
    assert (env.date, env.subject, env.to) == (b"x", None, ())


def test_empty_fields_are_not_missing() -> None:
    env = read(parse(b"Subject:\nMessage-ID: \nDate:\r\nIn-Reply-To:  \n\n").fields)
    assert (env.date, env.subject, env.message_id, env.in_reply_to) == (b"", b"", b"", b"")


def test_fields_that_stand_twice() -> None:
    env = read(parse(b"From: a@b\nSubject: one\nFrom: c@d\nSubject: two\n\n").fields)
    assert env.from_ == (plain(b"a", b"b"), plain(b"c", b"d")) and env.subject == b"one"


def test_values_are_unfolded() -> None:
    assert read(parse(b"Subject: one\r\n two\r\n\tthree \r\n\r\n").fields).subject == b"one two\tthree"


pieces = st.sampled_from([bytes([code]) for code in b'a@<>,;:"()\\[]. \xff'])


@given(st.one_of(st.lists(pieces, max_size=30).map(b"".join), st.binary(max_size=50)))
def test_anything_is_read(value: bytes) -> None:
    depth = 0
    for address in parse_addresses(value):
        if address == GROUP_END:
            depth -= 1
        else:
            assert address.mailbox is not None
            if address.host is None:
                depth += 1
            else:
                assert address.mailbox and address.host
        # RFC 9051 7.5.2: groups do not nest.
        assert depth in (0, 1)
    assert depth == 0


names = st.from_regex(r"[a-z]{1,5}", fullmatch=True)
specs = st.tuples(names, names).map(lambda pair: f"{pair[0]}@{pair[1]}.org")
entries = st.one_of(
    specs,
    st.tuples(names, specs).map(lambda pair: f"{pair[0]} <{pair[1]}>"),
    st.tuples(names, specs).map(lambda pair: f'"{pair[0]}, x" <{pair[1]}>'),
    st.tuples(names, st.lists(specs, max_size=3)).map(lambda pair: f"{pair[0]}: {', '.join(pair[1])};"),
    st.tuples(names, specs).map(lambda pair: f"{pair[1]} ({pair[0]})"),
)


@given(st.lists(entries, max_size=5))
def test_the_same_addresses_as_the_list_parser(values: list[str]) -> None:
    value = ", ".join(values)
    found = [f"{a.mailbox.decode()}@{a.host.decode()}" for a in parse_addresses(value.encode()) if a.mailbox and a.host]
    assert found == addresslist.extract_addresses(value)


@pytest.mark.parametrize("piece", [b"(", b'"', b"<", b"a ", b"@", b"a@b ", b"a:", b". ", b"\\", b"a.b ", b"[", b"<@a,"])
def test_time_is_linear(piece: bytes) -> None:
    before = time.perf_counter()
    parse_addresses(piece * (300_000 // len(piece)))
    assert time.perf_counter() - before < 3
