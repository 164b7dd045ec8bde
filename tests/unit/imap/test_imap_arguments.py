"""What commands take: the RFCs' own examples as tables, what is refused, and that nothing but BadCommand is raised."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tubepost.common.imap import administration, append, arguments, fetch, notification, search, write
from tubepost.common.imap.errors import BadCharset, BadCommand, BadName, TooMuch
from tubepost.common.imap.parse import Message, Scanner
from tubepost.common.imap.search import And, Flag, Header, Modseq, Not, Numbers, ObjectId, On, Or, Size, Text, Within
from tubepost.common.imap.sets import SAVED, parse_set

DAY_1994_02_01 = 8797


def find(text: bytes) -> search.Key:
    return search.parse_search(Scanner(text)).key


def numbers(text: bytes, uid: bool = False) -> Numbers:
    return Numbers(parse_set(text), uid)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        # RFC 3501 6.4.4, RFC 9051 6.4.4
        (
            b'FLAGGED SINCE 1-Feb-1994 NOT FROM "Smith"',
            And((Flag(b"\\Flagged"), On("INTERNAL", ">", DAY_1994_02_01), Not(Text(b"FROM", "Smith")))),
        ),
        (b'TEXT "string not in mailbox"', Text(b"TEXT", "string not in mailbox")),
        (b"CHARSET UTF-8 TEXT {12}\r\n\xd0\xbc\xd0\xb0\xd0\xbc\xd0\xb0xxxx", Text(b"TEXT", "мамаxxxx")),
        (b"charset koi8-r subject {4}\r\n\xcd\xc1\xcd\xc1", Text(b"SUBJECT", "мама")),
        # Quoted in a character set of its own: no grammar has it, clients do it.
        (b'CHARSET ISO-8859-1 SUBJECT "gr\xfc\xdfe"', Text(b"SUBJECT", "grüße")),
        (b"new", And((Flag(b"\\Recent"), Not(Flag(b"\\Seen"))))),
        (b"OR 1:3 (UID 5 LARGER 9)", Or(numbers(b"1:3"), And((numbers(b"5", True), Size(">", 9))))),
        # RFC 5182 2.4
        (b"UID $ SMALLER 4096", And((Numbers(SAVED, True), Size("<", 4096)))),
        (b"$ SENTON 01-Feb-1994", And((Numbers(SAVED, False), On("SENT", "=", DAY_1994_02_01)))),
        # RFC 5032 3
        (b"UNSEEN YOUNGER 259200", And((Not(Flag(b"\\Seen")), Within(False, 259200)))),
        # RFC 7162 3.1.5
        (b'MODSEQ "/flags/\\\\draft" all 620162338', Modseq(620162338, b"/flags/\\draft", b"all")),
        (b"OR NOT MODSEQ 720162338 LARGER 50000", Or(Not(Modseq(720162338)), Size(">", 50000))),
        # RFC 8474 5.3, RFC 8514 4.3, RFC 6203
        (b"EMAILID M6d99ac3275bb4e", ObjectId(b"EMAILID", b"M6d99ac3275bb4e")),
        (b'SAVEDSINCE "1-Feb-1994"', On("SAVED", ">", DAY_1994_02_01)),
        (b'FUZZY (SUBJECT "x" NOT KEYWORD $y)', search.Fuzzy(And((Text(b"SUBJECT", "x"), Not(Flag(b"$y")))))),
        (b'HEADER Message-ID ""', Header(b"Message-ID", "")),
        (b"UNKEYWORD NonJunk ", Not(Flag(b"NonJunk"))),
    ],
)
def test_search_keys(text: bytes, key: search.Key) -> None:
    assert find(text) == key


@pytest.mark.parametrize(
    "text",
    [
        b"", b" ", b"()", b"(ALL", b"ALL)", b"NOT", b"OR ALL", b"FOO", b"SINCE 30-Feb-1994", b"SINCE 1-Foo-1994",
        b"SINCE 1-Jan-0000", b"LARGER x", b"LARGER 9223372036854775808", b"UID 0", b"YOUNGER 0", b"MODSEQ x 1",
        b"FROM", b'FROM "x', b'FROM "\\x"', b"TEXT {5}\r\nabc", b"ALL  SEEN", b"RETURN MIN ALL", b"RETURN (FOO) ALL",
        b"RETURN (PARTIAL 1:2 ALL) ALL", b"RETURN (PARTIAL 1:-2) ALL", b"RETURN (PARTIAL 0:2) ALL", b"CHARSET UTF-8",
        b'SUBJECT "\xff"', b"CHARSET UTF-8 SUBJECT {1}\r\n\xff",
        b"CHARSET UTF-7 SUBJECT +2AA-", b"CHARSET UTF-7 SUBJECT +AAA-", b"CHARSET GB2312 SUBJECT {1}\r\n\xff",
        b"RETURN ()", b'HEADER "" x', b'SINCE "1-Jan-1994',
    ],
)  # fmt: skip
def test_bad_searches(text: bytes) -> None:
    with pytest.raises(BadCommand):
        find(text)


def test_search_returns() -> None:
    # RFC 4731 3.1: an empty list is ALL.
    assert search.parse_search(Scanner(b"RETURN () ALL")).options == frozenset((b"ALL",))
    assert search.parse_search(Scanner(b"ALL")).options is None
    found = search.parse_search(Scanner(b"RETURN (PARTIAL -1:-100 count SAVE) UNDELETED"))
    assert (found.options, found.partial) == (frozenset((b"PARTIAL", b"COUNT", b"SAVE")), (-1, -100))
    with pytest.raises(BadCharset) as caught:
        find(b"CHARSET rot13 ALL")
    assert (caught.value.status, caught.value.code) == (b"NO", b"BADCHARSET (US-ASCII UTF-8)")
    # NO lets JavaMail search by itself: it sends the low octets of what is not ASCII once UTF8=ACCEPT is enabled.
    for text in (b'SUBJECT "gr\xfc\xdfe"', b"SUBJECT {3}\r\n\xfcab", b'CHARSET UTF-8 BODY "\x1a\xae"'):
        with pytest.raises(BadCharset):
            find(text)


def test_search_limits() -> None:
    assert find(b"(" * 100 + b"ALL" + b")" * 100) == search.All()
    for deep in (b"(" * 30000, b"NOT " * 16000 + b"ALL", b"OR " * 20000, b"FUZZY " * 500 + b"ALL", b"ALL " * 5000):
        with pytest.raises(TooMuch):
            find(deep)


def test_sort_and_thread() -> None:
    # RFC 5256 3
    found = search.parse_sort(Scanner(b"(REVERSE ARRIVAL subject DISPLAYFROM) UTF-8 SINCE 1-Feb-1994"))
    assert found.criteria == ((b"ARRIVAL", True), (b"SUBJECT", False), (b"DISPLAYFROM", False))
    assert found.search.key == On("INTERNAL", ">", DAY_1994_02_01)
    # RFC 5267 3.1
    found = search.parse_sort(Scanner(b"RETURN (PARTIAL 23500:24000) (DATE) UTF-8 UNDELETED"))
    assert found.search.partial == (23500, 24000)
    assert search.parse_thread(Scanner(b"ORDEREDSUBJECT UTF-8 ALL")).algorithm == b"ORDEREDSUBJECT"
    for text in (b"() UTF-8 ALL", b"(REVERSE) UTF-8 ALL", b"(DATE) ALL", b"(FOO) UTF-8 ALL", b"DATE UTF-8 ALL"):
        with pytest.raises(BadCommand):
            search.parse_sort(Scanner(text))
    with pytest.raises(BadCommand):
        search.parse_thread(Scanner(b"FOO UTF-8 ALL"))


@pytest.mark.parametrize(
    ("text", "echo", "path", "section", "seen"),
    [
        (b"BODY[]", b"BODY[]", (), b"", True),
        (b"body.peek[1.2.MIME]", b"BODY[1.2.MIME]", (1, 2), b"MIME", False),
        (b"BODY[HEADER]<0.10>", b"BODY[HEADER]<0>", (), b"HEADER", True),
        (b"BODY[4.2.HEADER.FIELDS.NOT (Date \"From\")]", b"BODY[4.2.HEADER.FIELDS.NOT (Date From)]", (4, 2),
         b"HEADER.FIELDS.NOT", True),
        (b"BODY.PEEK[3]<512.1>", b"BODY[3]<512>", (3,), b"", False),
        (b"BINARY[1]", b"BINARY[1]", (1,), b"", True),
        (b"BINARY.PEEK[1.2]<1.2>", b"BINARY[1.2]<1>", (1, 2), b"", False),
        (b"BINARY.SIZE[]", b"BINARY.SIZE[]", (), b"", False),
    ],
)  # fmt: skip
def test_sections(text: bytes, echo: bytes, path: tuple[int, ...], section: bytes, seen: bool) -> None:
    (found,) = fetch.parse_fetch(Scanner(b"1 " + text)).attributes
    assert found.section is not None
    assert (found.echo, found.section.path, found.section.text, found.sets_seen) == (echo, path, section, seen)


def test_fetch() -> None:
    found = fetch.parse_fetch(Scanner(b"2:4 (FLAGS BODY[HEADER.FIELDS (DATE FROM)])"))
    assert [item.echo for item in found.attributes] == [b"FLAGS", b"BODY[HEADER.FIELDS (DATE FROM)]"]
    assert [item.name for item in fetch.parse_fetch(Scanner(b"1 full")).attributes] == [
        b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE", b"ENVELOPE", b"BODY"
    ]  # fmt: skip
    # RFC 7162 3.2.6
    found = fetch.parse_fetch(Scanner(b"300:500 (FLAGS) (CHANGEDSINCE 12345 VANISHED)"), uid=True)
    assert (found.changed_since, found.vanished) == (12345, True)
    assert [item.name for item in found.attributes] == [b"UID", b"FLAGS", b"MODSEQ"]
    assert fetch.parse_fetch(Scanner(b"1:* UID (PARTIAL -1:-3)"), uid=True).partial == (-1, -3)
    (preview,) = fetch.parse_fetch(Scanner(b"1 PREVIEW (LAZY)")).attributes
    assert preview.lazy
    with_preview = fetch.parse_fetch(Scanner(b"1 (PREVIEW (LAZY) UID RFC822 RFC822.HEADER UID)")).attributes
    assert [(item.name, item.sets_seen) for item in with_preview] == [
        (b"PREVIEW", False), (b"UID", False), (b"RFC822", True), (b"RFC822.HEADER", False)
    ]  # fmt: skip
    # Of RFC 1730, as Outlook still asks: told as RFC822, and \Seen stays as it is.
    (peeked,) = fetch.parse_fetch(Scanner(b"1 RFC822.peek")).attributes
    assert (peeked.name, peeked.echo, peeked.sets_seen) == (b"RFC822", b"RFC822", False)


@pytest.mark.parametrize(
    "text",
    [
        b"1", b"1 ", b"0 FLAGS", b"1 ()", b"1 (FLAGS", b"1 FOO", b"1 (ALL)", b"1 BODY[", b"1 BODY[MIME]",
        b"1 BODY[0]", b"1 BODY[1.]", b"1 BODY[]<0.0>", b"1 BODY[]<1>", b"1 BODY[HEADER.FIELDS]",
        b"1 BODY[HEADER.FIELDS ()]", b"1 BINARY[HEADER]", b"1 FLAGS[]", b"1 FLAGS (VANISHED)", b"1 FLAGS (FOO)",
        b"1 BODY[]<99999999999999999999.1>", b"1 FLAGS UID", b"1 PREVIEW (FAST)", b"1 BODYSTRUCTURE[]",
        b"1 FLAGS (PARTIAL 1:2)", b"1  FLAGS", b"1 BODY[1..2]", b"1 (FLAGS)x",
    ],
)  # fmt: skip
def test_bad_fetches(text: bytes) -> None:
    with pytest.raises(BadCommand):
        fetch.parse_fetch(Scanner(text))


Parser = Callable[[Scanner], Any]
GOOD: list[tuple[Parser, bytes, Any]] = [
    (arguments.login, b"{4}\r\nuser pass]word", ("user", "pass]word")),
    (arguments.authenticate, b"plain =", ("PLAIN", b"")),
    (arguments.authenticate, b"PLAIN dGVzdAB0ZXN0AHRlc3Q=", ("PLAIN", b"test\0test\0test")),
    (arguments.authenticate, b"GSSAPI", ("GSSAPI", None)),
    (arguments.enable, b"CONDSTORE X-GOOD-IDEA condstore", (b"CONDSTORE", b"X-GOOD-IDEA")),
    (arguments.identity, b'("Name" "sodr" "version" NIL)', {"name": "sodr", "version": None}),
    (arguments.identity, b"NIL", {}),
    # RFC 7162 3.2.5
    (arguments.select, b"INBOX (CONDSTORE)", ("INBOX", True, None)),
    (
        arguments.select,
        b"inbox (QRESYNC (67890007 90060115194045000 41:211,214:541))",
        ("INBOX", False, (67890007, 90060115194045000, parse_set(b"41:211,214:541"), None)),
    ),
    (
        arguments.select,
        b"INBOX (QRESYNC (67890007 90060115194045000 1:29997 (5000,7500 15000,22500)))",
        ("INBOX", False, (67890007, 90060115194045000, parse_set(b"1:29997"),
                          (parse_set(b"5000,7500"), parse_set(b"15000,22500")))),
    ),
    # RFC 6154 5.3
    (arguments.create, b"MySpecial (USE (\\Drafts \\Sent))", ("MySpecial", (b"\\Drafts", b"\\Sent"))),
    (arguments.status, b"blurdybloop (UIDNEXT MESSAGES)", ("blurdybloop", (b"UIDNEXT", b"MESSAGES"))),
    (arguments.list_mailboxes, b'"" %', ("", ("%",), frozenset(), frozenset(), (), (), False)),
    # RFC 5258 5
    (
        arguments.list_mailboxes,
        b'(SUBSCRIBED RECURSIVEMATCH) "" "*" RETURN (CHILDREN)',
        ("", ("*",), {b"SUBSCRIBED", b"RECURSIVEMATCH"}, {b"CHILDREN"}, (), (), True),
    ),
    (
        arguments.list_mailboxes,
        b'"" ("INBOX" "Drafts" Sent/%) RETURN (STATUS (MESSAGES) METADATA ("/shared/vendor/x" /private/comment))',
        ("", ("INBOX", "Drafts", "Sent/%"), frozenset(), {b"STATUS", b"METADATA"}, (b"MESSAGES",),
         ("/shared/vendor/x", "/private/comment"), True),
    ),
    (arguments.store, b"2:4 +FLAGS (\\deleted)", (parse_set(b"2:4"), "+", False, (b"\\Deleted",), None)),
    (arguments.store, b"1 FLAGS.SILENT a b A", (parse_set(b"1"), "=", True, (b"a", b"b"), None)),
    (
        arguments.store,
        b"6,4,8 (UNCHANGEDSINCE 12121230045) -FLAGS.SILENT ()",
        (parse_set(b"6,4,8"), "-", True, (), 12121230045),
    ),
    (arguments.copy, b"2:4 MEETING", (parse_set(b"2:4"), "MEETING")),
    (
        append.append,
        b'saved-messages (\\Seen) "17-Jul-1996 02:44:25 -0700" {2}\r\nhi',
        ("saved-messages",
         (((b"\\Seen",), (837596665, -420), ((Message(2, False, b"hi"), None),), False, False, True),)),
    ),
    (
        append.append,
        b"Drafts (\\Seen) CATENATE (URL \"/Drafts/;UID=20/;section=HEADER\" TEXT {2}\r\nhi)",
        ("Drafts", (((b"\\Seen",), None, ((None, b"/Drafts/;UID=20/;section=HEADER"), (Message(2, False, b"hi"), None)),
                     True, False, True),)),
    ),
    (
        append.append,
        b"x CATENATE (UTF8 (~{2}\r\n\xc3\xbc) text {1}\r\nx)",
        ("x", (((), None, ((Message(2, True, b"\xc3\xbc"), None), (Message(1, False, b"x"), None)),
                True, False, True),)),
    ),
    (
        append.append,
        b"x UTF8 (~{3}\r\n\xc3\xbc\x00)",
        ("x", (((), None, ((Message(3, True, b"\xc3\xbc\x00"), None),), False, True, True),)),
    ),
    (
        append.replace,
        b"4 Drafts {2}\r\nhi",
        (parse_set(b"4"), "Drafts", ((), None, ((Message(2, False, b"hi"), None),), False, False, True)),
    ),
    # RFC 5464 4.2, options before and behind the mailbox
    (administration.get_metadata, b'"" /shared/comment', ("", ("/shared/comment",), None, 0)),
    (
        administration.get_metadata,
        b'INBOX (MAXSIZE 1024) (/shared/comment /private/Comment)',
        ("INBOX", ("/shared/comment", "/private/comment"), 1024, 0),
    ),
    (administration.get_metadata, b"(DEPTH infinity) INBOX (/private/x)", ("INBOX", ("/private/x",), None, -1)),
    (
        administration.set_metadata,
        b'INBOX (/private/comment {33}\r\nMy new comment across\r\ntwo lines. /shared/x NIL)',
        ("INBOX", (("/private/comment", b"My new comment across\r\ntwo lines."), ("/shared/x", None))),
    ),
    (administration.set_quota, b'"" (STORAGE 512 message 5)', ("", {b"STORAGE": 512, b"MESSAGE": 5})),
    (administration.set_acl, b"INBOX/Drafts Byron +lrs", ("INBOX/Drafts", "Byron", "+", "lrs")),
    (administration.reset_key, b"", (None, ())),
    (administration.generate_urls, b'"imap://x/y" INTERNAL', ((b"imap://x/y", b"INTERNAL"),)),
    (administration.cancel_update, b'"B02" "C"', (b"B02", b"C")),
    # RFC 5465 3
    (notification.parse_notify, b"NONE", (False, ())),
    (
        notification.parse_notify,
        b"SET STATUS (selected MessageNew (uid) MessageExpunge)",
        BadCommand,
    ),
    (
        notification.parse_notify,
        b"SET STATUS (selected (MessageNew (UID) MessageExpunge)) (subtree (a B) NONE)",
        (True, (((b"SELECTED", ()), ((b"MESSAGENEW", (fetch.parse_attribute(Scanner(b"UID")),)),
                                     (b"MESSAGEEXPUNGE", ()))),
                ((b"SUBTREE", ("a", "B")), ()))),
    ),
    # RFC 7377 3
    (
        notification.parse_esearch,
        b'IN (mailboxes "folder1" subtree-one "folder2") unseen',
        (((b"MAILBOXES", ("folder1",)), (b"SUBTREE-ONE", ("folder2",))), (Not(Flag(b"\\Seen")), None, None, "utf-8")),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("parser", "text", "wanted"), GOOD)
def test_arguments(parser: Parser, text: bytes, wanted: Any) -> None:
    if wanted is BadCommand:
        with pytest.raises(BadCommand):
            parser(Scanner(text))
    else:
        assert parser(Scanner(text)) == wanted


BAD: list[tuple[Parser, bytes]] = [
    (arguments.nothing, b"x"),
    (arguments.login, b"a"),
    (arguments.login, b"a b c"),
    (arguments.login, b"a {1}\r\n\x00"),
    (arguments.authenticate, b"PLAIN !!"),
    (arguments.select, b"INBOX (FOO)"),
    (arguments.select, b"INBOX (QRESYNC (0 1))"),
    (arguments.select, b"INBOX (QRESYNC (1 1 1:*))"),
    (arguments.select, b"INBOX (QRESYNC (1 1 1:4 (1:2 3)))"),
    (arguments.select, b"INBOX ()"),
    (arguments.status, b"x ()"),
    (arguments.status, b"x (FOO)"),
    (arguments.list_mailboxes, b'(RECURSIVEMATCH) "" *'),
    (arguments.list_mailboxes, b'(RECURSIVEMATCH REMOTE) "" *'),
    (arguments.list_mailboxes, b'"" * RETURN (FOO)'),
    (arguments.list_mailboxes, b'"" ()'),
    (arguments.store, b"1 FLAGS (\\Recent)"),
    (arguments.store, b"1 FLAGS (\\Foo)"),
    (arguments.store, b"1 FLAGS"),
    (arguments.store, b"1 FLAGS (a"),
    (arguments.copy, b"1:* &x"),
    (append.append, b"x"),
    (append.append, b"x hello"),
    (append.append, b'x "32-Jul-1996 02:44:25 -0700" {2}\r\nhi'),
    (append.append, b'x "17-Jul-1996 24:44:25 -0700" {2}\r\nhi'),
    (append.append, b"x UTF8 ({2}\r\nhi)"),
    (append.append, b"x CATENATE ()"),
    (append.append, b"x CATENATE (UTF8 ({2}\r\nhi))"),
    (append.append, b"x CATENATE (UTF8 (~{2}\r\nhi)"),
    (append.replace, b"1:2 x {2}\r\nhi"),
    (append.replace, b"1 x {2}\r\nhi {2}\r\nhi"),
    (administration.get_metadata, b"INBOX /vendor/x"),
    (administration.get_metadata, b"INBOX /shared/*"),
    (administration.get_metadata, b"INBOX /shared//x"),
    (administration.set_acl, b"INBOX x lrz"),
    (notification.parse_notify, b"SET (selected (MessageNew))"),
    (notification.parse_notify, b"SET (selected (FlagChange))"),
    (notification.parse_notify, b"SET (personal (Foo))"),
    (notification.parse_notify, b"SET (foo NONE)"),
    (notification.parse_esearch, b"IN () ALL"),
    (notification.parse_esearch, b"IN (personal (x)) ALL"),
]


@pytest.mark.parametrize(("parser", "text"), BAD)
def test_bad_arguments(parser: Parser, text: bytes) -> None:
    with pytest.raises(BadCommand):
        parser(Scanner(text))


def test_the_beginning_of_an_append() -> None:
    found = append.append(Scanner(b"x (\\Seen) CATENATE (URL /a TEXT \x00{5}"), beginning=True)
    assert found.messages[0].parts[-1].text == Message(5, False)
    assert not found.messages[0].whole
    found = append.append(Scanner(b"x CATENATE (TEXT \x00{5} UTF8 (\x00~{7}"), beginning=True)
    assert found.messages[0].parts[-1].text == Message(7, True)
    assert not found.messages[0].whole
    first, second = append.append(Scanner(b"x \x00{5} (a) UTF8 (\x00~{7}"), beginning=True).messages
    assert first.whole and not second.whole and second.utf8
    with pytest.raises(BadCommand):
        append.append(Scanner(b"x UTF8 (\x00~{7}"))


def test_names_in_both_states() -> None:
    assert Scanner(b"&Jjo-").mailbox() == "☺"
    assert Scanner(b"&Jjo-", utf8=True).mailbox() == "&Jjo-"
    assert Scanner('"☺"'.encode(), utf8=True).mailbox() == "☺"
    with pytest.raises(BadName) as caught:
        Scanner(b"a&b").mailbox()
    assert (caught.value.status, caught.value.code) == (b"NO", b"CANNOT")


PARSERS: list[Parser] = [
    search.parse_search, search.parse_sort, search.parse_thread, fetch.parse_fetch, notification.parse_notify,
    notification.parse_esearch, append.append, append.replace, arguments.select, arguments.list_mailboxes,
    arguments.store, arguments.status, arguments.create, arguments.identity, arguments.login, arguments.authenticate,
    arguments.enable, arguments.two_mailboxes, administration.get_metadata, administration.set_metadata,
    administration.set_quota, administration.set_acl, administration.urls, administration.generate_urls,
]  # fmt: skip
_TOKENS = st.sampled_from(
    [b" ", b"(", b")", b'"', b'""', b"\\", b"{1}\r\n", b"{9}\r\nabcdefghi", b"~{1}\r\n", b"\x00{1}", b"*", b"$", b"1",
     b"1:*", b"[", b"]", b"<0.1>", b"<", b"NIL", b"BODY", b"HEADER.FIELDS", b"RETURN", b"PARTIAL", b"MIN", b"FLAGS",
     b"OR", b"NOT", b"1-Jan-2020", b"\xff", b"\xc3\xbc", b"&", b"&-", b"USE", b"CATENATE", b"TEXT", b"URL", b"UTF8",
     b"SET", b"selected", b"MessageNew", b"IN", b"CHARSET", b"UTF-16", b"HEADER", b"MODSEQ", b"99999999999999999999",
     b"QRESYNC", b"INBOX", b"/shared/x", b"-", b"+", b":", b",", b"\xd8"]
)  # fmt: skip


@given(st.sampled_from(PARSERS), st.lists(_TOKENS | st.binary(max_size=4), max_size=14).map(b"".join), st.booleans())
def test_any_bytes_are_arguments_or_bad(parser: Parser, text: bytes, utf8: bool) -> None:
    try:
        parser(Scanner(text, utf8=utf8))
    except BadCommand as fault:
        assert fault.status in (b"BAD", b"NO")
        assert fault.text and "\r" not in fault.text and "\n" not in fault.text


@given(st.binary(max_size=40) | st.text(max_size=20))
def test_what_is_written_is_read(value: bytes | str) -> None:
    raw = value if isinstance(value, bytes) else value.encode()
    if b"\x00" not in raw:
        assert Scanner(write.astring(value)).astring() == raw
        assert Scanner(write.nstring(value, utf8=True)).nstring() == raw
    assert Scanner(write.binary(raw)).literal8() == raw


@given(st.text(max_size=20), st.booleans())
def test_names_written_are_read(name: str, utf8: bool) -> None:
    try:
        wire = write.mailbox(name, utf8=utf8)
        found = Scanner(wire, utf8=utf8).mailbox()
    except BadName:
        return
    assert found.upper() == name.upper()


@given(st.integers(0, 4000000000), st.integers(-14 * 60, 14 * 60))
def test_dates_written_are_read(time: int, offset: int) -> None:
    assert Scanner(write.date_time(time, offset)).date_time() == (time, offset)


def test_writing() -> None:
    assert write.date_time(837596665, -420) == b'"17-Jul-1996 02:44:25 -0700"'
    assert write.date_time(0) == b'" 1-Jan-1970 00:00:00 +0000"'
    assert write.astring(b"") == b'""'
    assert write.astring(b"nil") == b'"nil"'
    assert write.string(b'a"\\') == b'"a\\"\\\\"'
    assert write.string("ü") == b"{2}\r\n\xc3\xbc"
    assert write.string("ü", utf8=True) == '"ü"'.encode()
    assert write.nstring(None) == b"NIL"
    assert write.mailbox("台北") == b"&U,BTFw-"
    assert write.code(b"APPENDUID", b"38505", b"3955") == b"[APPENDUID 38505 3955]"
    # RFC 4731 3.1
    assert (
        write.esearch(b"A282", uid=False, items=[(b"MIN", b"2"), (b"COUNT", b"3")])
        == b'* ESEARCH (TAG "A282") MIN 2 COUNT 3\r\n'
    )
