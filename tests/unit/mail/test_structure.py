"""The part tree: ranges, defaults, sizes, nasty messages."""

import email
import email.message
import email.policy
import mmap
import tempfile
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.mail import crlf, envelope, structure
from tubepost.common.mail.structure import Part, parse, walk


def body(data: bytes, part: Part) -> bytes:
    return data[part.body_start : part.body_end]


def wire(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def shape(part: Part) -> object:
    """Types only: ``text/plain`` or (type, [parts])."""
    name = f"{part.type.decode()}/{part.subtype.decode()}"
    if part.message is not None:
        return (name, [shape(part.message)])
    return (name, [shape(child) for child in part.children]) if part.is_multipart else name


def test_plain_message() -> None:
    data = b"Subject: x\nFrom: a@b\n\nline\nline\n"
    part = parse(data)
    assert (part.header_start, part.header_end, part.body_start, part.body_end) == (0, 21, 22, 32)
    assert (part.type, part.subtype, part.encoding, part.parameters) == (b"text", b"plain", b"7bit", ())
    assert (part.header_size, part.size, part.lines) == (25, 12, 2)
    assert part.fields == [(b"subject", b" x"), (b"from", b" a@b")]


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n", b"A: b", b"A: b\n", b"no header\n", b"\n\n", b": x\n", b"\0"])
def test_almost_nothing(data: bytes) -> None:
    part = parse(data)
    assert part.header_size + part.size == len(wire(data))
    assert part.body_end == len(data)


def test_mbox_line_belongs_to_the_header() -> None:
    part = parse(b"From a@b Fri Feb 22\nSubject: x\n\nbody\n")
    assert part.fields == [(b"subject", b" x")] and part.size == 6
    assert parse(b"From now on this is text\n").body_start == 0


MULTIPART = b"""Content-Type: multipart/mixed; boundary="foo
 bar"

Root MIME prologue

--foo bar
Content-Type: text/x-myown; charset=us-ascii

hello

--foo bar
Content-Type: message/rfc822

From: sub@domain.org
Content-Type: multipart/alternative; boundary="sub1"

Sub MIME prologue
--sub1
Content-Type: text/html

<p>Hello world</p>

--sub1
Content-Type: text/plain

Hello another world

--sub1--
Sub MIME epilogue

--foo bar--
Root MIME epilogue
"""


@pytest.mark.parametrize("data", [MULTIPART, wire(MULTIPART)])
def test_multipart_with_message(data: bytes) -> None:
    root = parse(data)
    inner = ("multipart/alternative", ["text/html", "text/plain"])
    assert shape(root) == ("multipart/mixed", ["text/x-myown", ("message/rfc822", [inner])])
    first, second = root.children
    assert wire(body(data, first)) == b"hello\r\n" and (first.size, first.lines) == (7, 1)
    assert second.message is not None
    assert wire(body(data, second)).endswith(b"\r\nSub MIME epilogue\r\n")
    assert second.size == len(wire(body(data, second)))
    assert [wire(body(data, part)) for part in second.message.children] == [
        b"<p>Hello world</p>\r\n", b"Hello another world\r\n"
    ]  # fmt: skip
    assert wire(body(data, second.message)).startswith(b"Sub MIME prologue")
    assert second.message.fields[0] == (b"from", b" sub@domain.org" + (b"\r" if b"\r" in data else b""))


def test_defaults() -> None:
    assert shape(parse(b"Content-Type: multipart/mixed\n\nx")) == "text/plain"
    assert shape(parse(b"Content-Type: nonsense\n\nx")) == "text/plain"
    assert shape(parse(b"Content-Type: text\n\nx")) == "text/plain"
    digest = b"Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: x\n\ny\n--b\nContent-Type: a/b\n\nz\n--b--"
    root = parse(digest)
    assert shape(root) == ("multipart/digest", [("message/rfc822", ["text/plain"]), "a/b"])
    assert root.children[0].message is not None
    assert body(digest, root.children[0].message) == b"y"


def test_empty_multipart_has_no_parts() -> None:
    root = parse(b"Content-Type: multipart/mixed; boundary=b\n\nno delimiter here\n")
    assert root.is_multipart and root.children == []


@pytest.mark.parametrize(
    ("text", "bodies"),
    [
        (b"--b\n\none\n--b\n\ntwo", [b"one", b"two"]),  # never closed
        (b"--b\n\none\n--b--", [b"one"]),
        (b"--b\n--b\n--b--\n", [b"", b""]),  # parts without anything
        (b"--b\n\n--b--\n", [b""]),
        (b"--b\nA: b\n--b--\n", [b""]),  # a header only
        (b"--b\nno header\n--b--\n", [b"no header"]),
        (b"--b  \n\none\n--b--  \n", [b"one"]),  # RFC 2046 5.1.1 transport padding
        (b"--b\n\none --b two\n --b\n--b--", [b"one --b two\n --b"]),  # only at the start of a line
        (b"x\n--b\n\none\n\n--b--\n--b\n\nepilogue\n", [b"one\n"]),  # nothing after the end
        (b"--b", [b""]),
    ],
)
@pytest.mark.parametrize("crlf_form", [False, True])
def test_delimiters(text: bytes, bodies: list[bytes], crlf_form: bool) -> None:
    data = b"Content-Type: multipart/mixed; boundary=b\n\n" + text
    if crlf_form:
        data = wire(data)
        bodies = [wire(one) for one in bodies]
    assert [body(data, part) for part in parse(data).children] == bodies


def nested(outer: bytes, inner: bytes) -> bytes:
    return (
        b'Content-Type: multipart/mixed; boundary="%b"\n\n--%b\nContent-Type: multipart/mixed; boundary="%b"\n\n'
        b"--%b\n\none\n--%b\n\ntwo\n--%b--\n--%b\n\nthree\n--%b--\n"
    ) % (outer, outer, inner, inner, inner, inner, outer, outer)


@pytest.mark.parametrize(
    ("outer", "inner"),
    [(b"b", b"bc"), (b"bc", b"b"), (b"b", b"b--"), (b"=_a:b", b"a:b"), (b"b b", b"b"), (b"b", b"b b")],
)
def test_boundaries_that_begin_alike(outer: bytes, inner: bytes) -> None:
    data = nested(outer, inner)
    root = parse(data)
    assert shape(root) == ("multipart/mixed", [("multipart/mixed", ["text/plain", "text/plain"]), "text/plain"])
    assert [body(data, part) for part in walk(root) if part.type == b"text"] == [b"one", b"two", b"three"]


def test_same_boundary_within() -> None:
    data = nested(b"b", b"b")
    root = parse(data)
    assert [body(data, part) for part in walk(root) if part.type == b"text"] == [b"one", b"two", b"three"]


def test_inner_multipart_that_is_not_closed_ends_with_the_outer() -> None:
    data = (
        b"Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/mixed; boundary=i\n\n--i\n\none\n"
        b"--o\n\ntwo\n--i\n\nno part\n--o--\n"
    )
    root = parse(data)
    assert shape(root) == ("multipart/mixed", [("multipart/mixed", ["text/plain"]), "text/plain"])
    assert body(data, root.children[1]) == b"two\n--i\n\nno part"


def test_content_fields() -> None:
    part = parse(
        b'Content-Type: TEXT/Plain; Charset=UTF-8; name*0*=utf-8\'\'a%20; name*1=b; x="q\\"s"\n'
        b"Content-Transfer-Encoding: (c) BASE64\nContent-ID: <a@b>\nContent-Description: one\n two\nContent-MD5: Q2g=\n"
        b'Content-Disposition: attachment; filename="x y.png"\nContent-Language: en, fi (c), se-SE\n'
        b"Content-Location: http://example.com/\nContent-ID: <second>\n\n"
    )
    assert part.parameters == ((b"charset", b"UTF-8"), (b"name*", b"utf-8''a%20b"), (b"x", b'q"s'))
    assert (part.type, part.subtype, part.encoding) == (b"text", b"plain", b"base64")
    assert (part.id, part.description, part.md5) == (b"<a@b>", b"one two", b"Q2g=")
    assert (part.disposition, part.disposition_parameters) == (b"attachment", ((b"filename", b"x y.png"),))
    assert (part.languages, part.location) == ((b"en", b"fi", b"se-SE"), b"http://example.com/")
    assert part.filename() == "x y.png"
    assert parse(b"Content-Transfer-Encoding: ?invalid\n\n").encoding == b"7bit"
    assert parse(b"Content-Type: a/b; name*=utf-8''%e2%82%ac.txt\n\n").filename() == "€.txt"


def test_message_whose_header_ends_at_a_delimiter() -> None:
    data = b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\n\r\n--b--\n"
    part = parse(data).children[0]
    assert part.message is not None and part.body_end == part.message.body_end == part.message.body_start


def test_many_parts_are_bounded() -> None:
    data = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 20000 + b"--b--\n"
    root = parse(data)
    assert len(walk(root)) == structure.LIMIT_PARTS
    assert len(parse(data, limit_parts=5).children) == 4
    last = parse(data, limit_parts=5).children[-1]
    assert last.body_end == len(data)


def test_depth_is_bounded() -> None:
    data = b"".join(b"Content-Type: multipart/mixed; boundary=b%d+\n\n--b%d+\n" % (n, n) for n in range(500))
    parts = walk(parse(data))
    assert len(parts) == structure.LIMIT_DEPTH and parts[-1].type == b"application"
    parts = walk(parse(b"Content-Type: message/rfc822\n\n" * 5000))
    assert len(parts) == structure.LIMIT_DEPTH and parts[-1].message is None


@pytest.mark.parametrize(
    "data",
    [
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"\n--\n" * 500_000,
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 300_000,
        nested(b"a", b"aa") * 20_000,
        b"X: y\n" * 400_000 + b"\nbody",
        b"Subject: y\n" + b" z\n" * 400_000 + b"\nbody",
        b"Content-Type: text/plain" + b"; a*1=b" * 100_000 + b"\n\n",
        b"Content-Type: text/plain" + b"; (((" * 100_000 + b"\n\n",
        b"Cc: a@b\n" * 100_000,
    ],
    ids=["dashes", "parts", "boundaries", "fields", "folds", "parameters", "comments", "many"],
)
def test_hostile_messages_take_no_time(data: bytes) -> None:
    before = time.perf_counter()
    envelope.read(parse(data).fields)
    assert time.perf_counter() - before < 3


def test_mmap_gives_the_same() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(MULTIPART)
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert parse(mapped) == parse(MULTIPART) == parse(memoryview(MULTIPART))
            assert b"".join(crlf.crlf_chunks(mapped, 0, len(MULTIPART))) == wire(MULTIPART)


pieces = st.sampled_from(
    [b"\n", b"\r\n", b"\r", b"--", b"--a", b"--a--", b"--ab\n", b"--b\n", b"x", b"a: b\n", b" fold\n", b"\0", b"\xff"]
    + [b"Content-Type: multipart/mixed; boundary=%b\n" % name for name in (b"a", b"ab", b"b", b'"a b"', b'""')]
    + [b"Content-Type: message/rfc822\n", b"Content-Type: multipart/digest; boundary=a\n", b"From x\n"]
)
hostile = st.lists(pieces, max_size=40).map(b"".join)


@given(st.one_of(hostile, st.binary(max_size=200)))
def test_ranges_hold_for_anything(data: bytes) -> None:
    root = parse(data)
    assert root.header_start == 0 and root.body_end == len(data)
    for part in walk(root):
        assert 0 <= part.header_start <= part.header_end <= part.body_start <= part.body_end <= len(data)
        assert part.size == len(wire(body(data, part))) and part.lines == body(data, part).count(b"\n")
        assert part.header_size == len(wire(data[part.header_start : part.body_start]))
        within = [part.message] if part.message is not None else part.children
        place = part.body_start
        for child in within:
            assert place <= child.header_start and child.body_end <= part.body_end
            place = child.body_end
        if part.message is not None:
            assert (part.message.header_start, part.message.body_end) == (part.body_start, part.body_end)


@given(hostile, st.integers(0, 60), st.integers(0, 60))
def test_partial_reads_are_slices_of_the_wire_form(data: bytes, offset: int, length: int) -> None:
    assert b"".join(crlf.crlf_chunks(data, 0, len(data), offset, length)) == wire(data)[offset : offset + length]
    assert crlf.virtual_size(data) == len(wire(data))


def test_view_reads_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crlf, "PIECE", 7)
    monkeypatch.setattr(crlf, "_STRIDE", 20)
    data = b"ab\ncd\r\nef\rgh\n\n" * 40
    view = crlf.View(data, 0, len(data))
    whole = wire(data)
    for offset in [0, 300, 20, 19, 21, 500, 5, len(whole) - 3, len(whole) + 5]:
        assert b"".join(view.chunks(offset, 33)) == whole[offset : offset + 33]


text = st.text(st.sampled_from("abc \n"), max_size=30)


@st.composite
def trees(draw: st.DrawFn) -> bytes:
    """A message that Python's package would write, with boundaries of its own at each level."""

    def build(depth: int, name: str) -> str:
        kind = draw(st.sampled_from(["text", "multipart", "message"] if depth < 3 else ["text"]))
        if kind == "text":
            return "Content-Type: text/plain\n\n" + draw(text)
        if kind == "message":
            return "Content-Type: message/rfc822\n\nSubject: x\n" + build(depth + 1, name + "m")
        count = draw(st.integers(1, 3))
        parts = [build(depth + 1, f"{name}{index}") for index in range(count)]
        joined = "".join(f"--={name}=\n{part}\n" for part in parts)
        return f'Content-Type: multipart/mixed; boundary="={name}="\n\npreamble\n{joined}--={name}=--\n'

    return ("MIME-Version: 1.0\n" + build(0, "r")).encode()


def compare(ours: Part, theirs: "email.message.Message[str, str]", data: bytes) -> None:
    assert f"{ours.type.decode()}/{ours.subtype.decode()}" == theirs.get_content_type()
    payload = theirs.get_payload()
    if ours.message is not None:
        assert isinstance(payload, list) and len(payload) == 1
        within = payload[0]
        assert isinstance(within, email.message.Message)
        compare(ours.message, within, data)
    elif ours.is_multipart:
        assert isinstance(payload, list) and len(payload) == len(ours.children)
        for ours_child, theirs_child in zip(ours.children, payload, strict=True):
            assert isinstance(theirs_child, email.message.Message)
            compare(ours_child, theirs_child, data)
    else:
        assert body(data, ours).decode() == payload


@given(trees())
def test_as_python_reads_it(data: bytes) -> None:
    compare(parse(data), email.message_from_bytes(data, policy=email.policy.compat32), data)
