"""What well-known clients say, in their order and spelling, and what each of them needs to read in the answers.

The commands are those that the clients' own sources, logs or vendors' statements show; the clients themselves are not
here. Every session is over a real socket, so literals, pipelining and half-closed connections are as in life.
"""

import base64
import re
import socket
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.fakes.instance import PATIENCE, Instance

ALICE = "alice@example.test"
FIRST = (
    b"From: A <a@example.org>\r\nTo: alice@example.test\r\nSubject: first\r\nMessage-ID: <1@example.org>\r\n"
    b"Date: Mon, 23 Nov 2026 10:00:00 +0000\r\n\r\nHi\r\n"
)
SECOND = (
    b"Return-Path: <b@example.org>\r\nFrom: =?utf-8?q?B=C3=A4r?= <b@example.org>\r\nTo: alice@example.test,\r\n"
    b" Carol <carol@example.org>\r\nCc: d@example.org\r\nSubject: =?utf-8?b?5Lya6K6u?=\r\n"
    b"Message-ID: <2@example.org>\r\nIn-Reply-To: <1@example.org>\r\n"
    b"References: <0@example.org>\r\n\t<1@example.org>\r\n"
    b"Date: Mon, 23 Nov 2026 11:00:00 +0000\r\nMIME-Version: 1.0\r\nX-Priority: 1\r\n"
    b'Content-Type: multipart/mixed; boundary="outer"\r\n\r\n'
    b"--outer\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"Gr=C3=BC=C3=9Fe\r\n"
    b'--outer\r\nContent-Type: application/pdf; name="plan.pdf"\r\nContent-Transfer-Encoding: base64\r\n'
    b'Content-Disposition: attachment; filename="plan.pdf"\r\n\r\n'
    + base64.encodebytes(bytes(range(256)) * 200).replace(b"\n", b"\r\n")
    + b"--outer--\r\n"
)
THIRD = (
    b"From: c@example.org\r\nTo: alice@example.test\r\nSubject: third\r\nMessage-ID: <3@example.org>\r\n"
    b"Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/alternative; boundary=inner\r\n\r\n"
    b"--inner\r\nContent-Type: text/plain\r\n\r\nplain\r\n"
    b"--inner\r\nContent-Type: text/html\r\n\r\n<p>html\r\n--inner--\r\n"
)
MESSAGES = (FIRST, SECOND, THIRD)
_LITERAL = re.compile(rb"\{(\d+)\}\Z")


class Answer(NamedTuple):
    """The untagged responses, literals in their place, and the last line from its status on."""

    lines: list[bytes]
    last: bytes

    def find(self, pattern: bytes) -> re.Match[bytes]:
        """The first response that matches."""
        for line in self.lines:
            if match := re.search(pattern, line, re.IGNORECASE | re.DOTALL):
                return match
        raise AssertionError(f"{pattern!r} is not in {self.lines}")

    def fetched(self) -> dict[int, bytes]:
        """FETCH responses by message number."""
        found = {}
        for line in self.lines:
            if match := re.match(rb"\* (\d+) FETCH \((.*)\)\Z", line, re.DOTALL):
                found[int(match[1])] = match[2]
        return found

    def by_uid(self) -> dict[int, bytes]:
        return {number(text, b"UID"): text for text in self.fetched().values()}


def number(text: bytes, name: bytes) -> int:
    match = re.search(rb"(?:\A|[ (\[])" + re.escape(name) + rb" \(?(\d+)", text)
    assert match is not None, (name, text)
    return int(match[1])


def value(text: bytes, name: bytes) -> bytes:
    """Of an item whose value is a literal or a quoted string."""
    place = text.index(name + b" ") + len(name) + 1
    if text[place : place + 1] == b'"':
        return text[place + 1 : text.index(b'"', place + 1)]
    match = re.compile(rb"\{(\d+)\}\r\n").match(text, place)
    assert match is not None, text[place : place + 80]
    return text[match.end() : match.end() + int(match[1])]


def flags(text: bytes) -> set[bytes]:
    match = re.search(rb"FLAGS \(([^)]*)\)", text)
    assert match is not None, text
    return set(match[1].split())


class Client:
    """A connection; ``prefix`` is how this client begins its tags."""

    def __init__(self, instance: Instance, prefix: str = "a") -> None:
        self.instance = instance
        self.socket = socket.create_connection(("127.0.0.1", instance.ports["imap"]), PATIENCE)
        self._prefix, self._count = prefix, 0
        self._input = b""
        self._packer: zlib._Compress | None = None
        self._unpacker: zlib._Decompress | None = None
        self.greeting = self.response()

    def log_in(self) -> "Client":
        assert self.do(f"LOGIN {ALICE} {self.instance.credentials[ALICE]}").last.startswith(b"OK")
        return self

    def send(self, data: bytes) -> None:
        if self._packer is not None:
            data = self._packer.compress(data) + self._packer.flush(zlib.Z_SYNC_FLUSH)
        self.socket.sendall(data)

    def compress(self) -> None:
        self._packer = zlib.compressobj(wbits=-15)
        self._unpacker = zlib.decompressobj(wbits=-15)

    def _more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError(self._input)
        self._input += self._unpacker.decompress(data) if self._unpacker is not None else data

    def _line(self) -> bytes:
        while b"\r\n" not in self._input:
            self._more()
        line, _, self._input = self._input.partition(b"\r\n")
        return line

    def response(self) -> bytes:
        """One, with its literals, without the last CRLF."""
        found = self._line()
        while match := _LITERAL.search(found):
            size = int(match[1])
            while len(self._input) < size:
                self._more()
            found += b"\r\n" + self._input[:size]
            self._input = self._input[size:]
            found += self._line()
        return found

    def tag(self) -> bytes:
        self._count += 1
        return f"{self._prefix}{self._count}".encode()

    def begin(self, command: str) -> bytes:
        tag = self.tag()
        self.send(tag + b" " + command.encode() + b"\r\n")
        return tag

    def until(self, tag: bytes) -> Answer:
        lines: list[bytes] = []
        while True:
            line = self.response()
            if line.startswith(tag + b" "):
                return Answer(lines, line[len(tag) + 1 :])
            assert line.startswith(b"* "), line
            lines.append(line)

    def do(self, command: str) -> Answer:
        return self.until(self.begin(command))

    def ok(self, command: str) -> Answer:
        found = self.do(command)
        assert found.last.startswith(b"OK"), (command, found)
        return found

    def append(self, command: str, message: bytes, *, waiting: bool = True) -> Answer:
        """``waiting``: for the go-ahead, as a client without LITERAL+ does."""
        if not waiting:
            tag = self.tag()
            self.send(tag + f" {command} {{{len(message)}+}}\r\n".encode() + message + b"\r\n")
        else:
            tag = self.begin(f"{command} {{{len(message)}}}")
            assert self.response().startswith(b"+ ")
            self.send(message + b"\r\n")
        return self.until(tag)

    def close(self) -> None:
        self.socket.close()


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    with Instance(services=("imap",)) as made:
        yield made


class Box(NamedTuple):
    """INBOX as each test finds it: three messages."""

    uids: tuple[int, ...]
    helper: Client


@pytest.fixture
def inbox(instance: Instance) -> Iterator[Box]:
    helper = Client(instance, "h").log_in()
    listed = helper.ok('LIST "" "*"')
    for line in listed.lines:
        name = line.rpartition(b'"/" ')[2].decode()
        if name not in ("INBOX", "Drafts", "Sent", "Junk", "Trash", "Archive"):
            helper.ok(f"DELETE {name}")
    helper.ok("SELECT INBOX")
    helper.do("STORE 1:* +FLAGS.SILENT \\Deleted")
    helper.ok("EXPUNGE")
    uids = []
    for place, message in enumerate(MESSAGES):
        done = helper.append("APPEND INBOX (\\Seen)" if place == 0 else "APPEND INBOX ()", message)
        match = re.search(rb"APPENDUID \d+ (\d+)", done.last)
        assert match is not None
        uids.append(int(match[1]))
    helper.ok("NOOP")
    yield Box(tuple(uids), helper)
    helper.close()


@pytest.fixture
def connect(instance: Instance) -> Iterator["Connect"]:
    made = Connect(instance)
    yield made
    for client in made.clients:
        client.close()


class Connect:
    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self.clients: list[Client] = []

    def __call__(self, prefix: str, *, login: bool = True) -> Client:
        client = Client(self._instance, prefix)
        self.clients.append(client)
        return client.log_in() if login else client


def plain(instance: Instance) -> str:
    return base64.b64encode(f"\0{ALICE}\0{instance.credentials[ALICE]}".encode()).decode()


THUNDERBIRD_FIELDS = (
    "From To Cc Bcc Subject Date Message-ID Priority X-Priority References Newsgroups In-Reply-To Content-Type Reply-To"
)


def test_thunderbird(instance: Instance, inbox: Box, connect: Connect) -> None:
    first, second, third = inbox.uids
    client = connect("", login=False)
    offered = client.ok("capability").find(rb"CAPABILITY (.*)")[1].split()
    assert b"AUTH=PLAIN" in offered and b"IMAP4rev1" in offered
    tag = client.begin("authenticate PLAIN")
    assert client.response().startswith(b"+ ")
    client.send(plain(instance).encode() + b"\r\n")
    done = client.until(tag)
    assert done.last.startswith(b"OK")
    client.ok("capability").find(rb" IDLE( |\Z)")
    client.ok('ID ("name" "Thunderbird" "version" "128.5.0")').find(rb'\* ID \("name"')
    client.ok("namespace").find(rb'NAMESPACE \(\("" "/"\)\)')
    listed = client.ok('list (subscribed) "" "*" return (special-use)')
    for name in (b"Drafts", b"Sent", b"Junk", b"Trash", b"Archive"):
        listed.find(rb"LIST \([^)]*\\Subscribed[^)]*\\" + name + rb'[^)]*\) "/" "?' + name)
    assert len(client.ok('list "" "INBOX"').lines) == 1
    opened = client.ok('select "INBOX" (CONDSTORE)')
    assert number(opened.find(rb"UIDVALIDITY.*")[0], b"UIDVALIDITY")
    assert number(opened.find(rb"\[UIDNEXT.*")[0], b"UIDNEXT") == third + 1
    # Without \* it would keep tags and junk marks to itself.
    opened.find(rb"PERMANENTFLAGS \([^)]*\\\*[^)]*\)")
    assert opened.last.startswith(b"OK [READ-WRITE]")
    client.ok('getquotaroot "INBOX"').find(rb"\* QUOTAROOT \"?INBOX")
    client.ok('myrights "INBOX"').find(rb"\* MYRIGHTS \"?INBOX\"? \S*i\S*")
    listing = client.ok("UID fetch 1:* (FLAGS)").by_uid()
    assert list(listing) == [first, second, third] and b"\\Seen" in flags(listing[first])
    headers = client.ok(
        f"UID fetch {second}:* (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS ({THUNDERBIRD_FIELDS})])"
    ).by_uid()
    assert list(headers) == [second, third]
    text = value(headers[second], f"BODY[HEADER.FIELDS ({THUNDERBIRD_FIELDS})]".encode())
    assert text.endswith(b"\r\n\r\n") and b"Return-Path" not in text and b"MIME-Version" not in text
    # Folded fields come whole, as they stand.
    assert b"To: alice@example.test,\r\n Carol <carol@example.org>\r\n" in text
    assert b"References: <0@example.org>\r\n\t<1@example.org>\r\n" in text
    assert number(headers[second], b"RFC822.SIZE") == len(SECOND) and b"\\Seen" not in flags(headers[second])
    # A window for the list's preview, the body, and what it does to flags.
    preview = client.ok(f"UID fetch {second} (BODY.PEEK[HEADER.FIELDS (Content-Type Content-Transfer-Encoding)]"
                        " BODY.PEEK[TEXT]<0.2048>)").by_uid()[second]  # fmt: skip
    assert len(value(preview, b"BODY[TEXT]<0>")) == 2048
    body = client.ok(f"UID fetch {second} (UID RFC822.SIZE BODY.PEEK[])").by_uid()[second]
    assert value(body, b"BODY[]") == SECOND
    marked = client.ok(f"uid store {second} +Flags (\\Seen $label1 NonJunk)").by_uid()[second]
    assert {b"\\Seen", b"$label1", b"NonJunk"} <= flags(marked)
    assert b"$label1" not in flags(client.ok(f"uid store {second} -Flags ($label1)").by_uid()[second])
    # Nothing new: the last message comes all the same (RFC 9051 9, seq-range).
    assert list(client.ok(f"UID fetch {third + 1}:* (FLAGS)").by_uid()) == [third]
    tag = client.begin("IDLE")
    assert client.response().startswith(b"+ ")
    instance.send(ALICE, "Subject: idle\r\n\r\nx\r\n")
    while b"4 EXISTS" not in client.response():
        pass
    client.send(b"DONE\r\n")
    assert client.until(tag).last.startswith(b"OK")
    (arrived,) = client.ok(f"UID fetch {third + 1}:* (FLAGS)").by_uid()
    assert arrived == third + 1
    # Filed in Sent, then looked for by its Message-ID; deleted by moving it to Trash.
    sent = FIRST.replace(b"<1@", b"<tb-1@")
    assert (
        b"APPENDUID" in client.append('append "Sent" (\\Seen) "24-Nov-2026 10:00:00 +0000"', sent, waiting=False).last
    )
    client.ok('select "Sent"')
    found = client.ok("UID SEARCH UNDELETED HEADER Message-ID tb-1@example.org").find(rb"SEARCH (\d+)")[1]
    client.ok('select "INBOX" (CONDSTORE)')
    moved = client.ok(f'uid move {first} "Trash"')
    assert found and (moved.find(rb"COPYUID \d+ (\d+)")[1] == b"%d" % first) and moved.find(rb"\* 1 EXPUNGE")
    client.ok("noop")
    client.ok("close")
    status = client.ok('STATUS "INBOX" (UIDNEXT MESSAGES UNSEEN RECENT)').find(rb"STATUS \"?INBOX\"? \((.*)\)")[1]
    assert number(status, b"MESSAGES") == 3 and number(status, b"UNSEEN") == 2
    client.ok("logout").find(rb"\* BYE")


def test_apple_mail(inbox: Box, connect: Connect) -> None:
    first, second, third = inbox.uids
    client = connect("1.")
    client.ok('ID ("name" "Mac OS X Mail" "version" "16.0 (3774.600.62)" "os" "Mac OS X" "os-version" "14.4 (23E214)"'
              ' "vendor" "Apple Inc.")')  # fmt: skip
    client.ok('LIST "" "*" RETURN (SPECIAL-USE)').find(rb"LIST \([^)]*\\Trash[^)]*\)")
    client.ok("ENABLE CONDSTORE").find(rb"ENABLED CONDSTORE")
    status = client.ok("STATUS INBOX (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)").lines[0]
    assert number(status, b"MESSAGES") == 3
    highest = number(status, b"HIGHESTMODSEQ")
    assert client.ok("EXAMINE INBOX").last.startswith(b"OK [READ-ONLY]")
    selected = client.ok("SELECT INBOX")
    assert number(selected.find(rb"\[HIGHESTMODSEQ.*")[0], b"HIGHESTMODSEQ") >= highest
    fields = (
        "date subject from to cc message-id in-reply-to references content-type x-priority x-uniform-type-identifier "
        "x-universally-unique-identifier list-id list-unsubscribe bimi-indicator authentication-results dkim-signature"
    )
    found = client.ok(
        f"FETCH 1:3 (INTERNALDATE UID RFC822.SIZE FLAGS MODSEQ BODY.PEEK[HEADER.FIELDS ({fields})])"
    ).fetched()
    assert [number(found[place], b"UID") for place in (1, 2, 3)] == [first, second, third]
    for place, message in enumerate(MESSAGES, 1):
        assert number(found[place], b"RFC822.SIZE") == len(message)
        assert number(found[place], b"MODSEQ")
        assert re.search(rb'INTERNALDATE "[ \d]\d-Nov-\d{4} \d\d:\d\d:\d\d [+-]\d{4}"', found[place])
        assert b"\r\nSubject: " in b"\r\n" + value(found[place], f"BODY[HEADER.FIELDS ({fields})]".encode())
    shape = client.ok(f"UID FETCH {second} (BODYSTRUCTURE BODY.PEEK[HEADER])").by_uid()[second]
    assert b'("attachment" ("filename" "plan.pdf"))' in shape.lower().replace(b'"ATTACHMENT"', b'"attachment"')
    assert value(shape, b"BODY[HEADER]") == SECOND.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert value(client.ok(f"UID FETCH {second} BODY.PEEK[1]").by_uid()[second], b"BODY[1]") == b"Gr=C3=BC=C3=9Fe"
    attachment = b""
    while True:
        piece = value(
            client.ok(f"UID FETCH {second} BODY.PEEK[2]<{len(attachment)}.32768>").by_uid()[second],
            b"BODY[2]<%d>" % len(attachment),
        )
        attachment += piece
        if len(piece) < 32768:
            break
    assert base64.b64decode(attachment) == bytes(range(256)) * 200
    # Coloured flags are keywords; a silent change is answered by its MODSEQ alone.
    silent = client.ok(f"UID STORE {second} +FLAGS.SILENT (\\Flagged $MailFlagBit0 $MailFlagBit2)")
    assert all(b"$MailFlagBit0" not in text for text in silent.by_uid().values())
    now = client.ok(f"UID FETCH {second} (FLAGS)").by_uid()[second]
    assert {b"\\Flagged", b"$MailFlagBit0", b"$MailFlagBit2"} <= flags(now)
    draft = b"X-Uniform-Type-Identifier: com.apple.mail-draft\r\n" + FIRST
    assert client.append('APPEND "Drafts" (\\Seen \\Draft $NotJunk)', draft).last.startswith(b"OK [APPENDUID")
    client.ok('CREATE "Deleted Messages"')
    assert b"COPYUID" in client.ok(f'UID COPY {third} "Deleted Messages"').last
    client.ok(f"UID STORE {third} +FLAGS.SILENT (\\Deleted)")
    client.ok(f"UID EXPUNGE {third}").find(rb"\* 3 EXPUNGE")
    # Not announced, so not to be there.
    assert client.do("XAPPLEPUSHSERVICE aps-version 2").last.startswith(b"BAD")
    # A check later on asks for what has changed since.
    changed = client.ok(f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {highest})").by_uid()
    assert list(changed) == [second] and number(changed[second], b"MODSEQ") > highest
    client.ok("LOGOUT")


def test_ios_mail(inbox: Box, connect: Connect) -> None:
    first, second, third = inbox.uids
    client = connect("")
    client.ok('ID ("name" "iPhone Mail" "version" "21E236" "os" "iOS" "os-version" "17.4.1 (21E236)")')
    client.ok('LIST "" "%"').find(rb'LIST \([^)]*\) "/" "?INBOX')
    client.ok("SELECT INBOX")
    assert client.ok("UID SEARCH 1:* NOT DELETED").find(rb"SEARCH(.*)")[1].split() == [
        b"%d" % uid for uid in inbox.uids
    ]
    assert client.ok("UID SEARCH RETURN (ALL) 1:3 UNSEEN").find(rb"UID ALL (\S+)")[1] == b"%d:%d" % (second, third)
    assert client.ok("UID SEARCH SINCE 1-Jan-2000 BEFORE 1-Jan-2001").lines == [b"* SEARCH"]
    listed = client.ok("FETCH 1:3 (FLAGS UID)").fetched()
    assert [number(text, b"UID") for text in listed.values()] == list(inbox.uids)
    found = client.ok(f"UID FETCH {third} (BODYSTRUCTURE BODY.PEEK[HEADER])").by_uid()[third]
    assert re.search(rb'BODYSTRUCTURE \(\("text" "plain".*\)\("text" "html".*\) "alternative"', found, re.IGNORECASE)
    assert value(client.ok(f"UID FETCH {third} (BODY.PEEK[2])").by_uid()[third], b"BODY[2]") == b"<p>html"
    client.ok("UID SEARCH CHARSET UTF-8 SUBJECT {6+}\r\n会议").find(rb"SEARCH %d\Z" % second)
    client.ok(f"UID MOVE {second}:{third} Archive").find(rb"COPYUID \d+ %d[:,]%d " % (second, third))
    client.ok("UID SEARCH ALL").find(rb"SEARCH %d\Z" % first)


def test_outlook(inbox: Box, connect: Connect) -> None:
    """IMAP4rev1, quoted strings, no LITERAL+, LSUB; RFC822.PEEK is as its maker says what it still uses."""
    first, second, third = inbox.uids
    client = connect("o", login=False)
    client.ok("CAPABILITY").find(rb"CAPABILITY .*IMAP4rev1")
    client.ok(f'LOGIN "{ALICE}" "{client.instance.credentials[ALICE]}"')
    client.ok("CAPABILITY").find(rb" IDLE")
    assert client.ok('LIST "" ""').lines == [b'* LIST (\\Noselect) "/" ""']
    client.ok('LIST "" "INBOX"').find(rb'LIST \([^)]*\) "/" "?INBOX')
    client.ok('CREATE "Kunden/Gr&APYA3w-e"')
    client.ok('SUBSCRIBE "Kunden/Gr&APYA3w-e"')
    listed = client.ok('LIST "" "*"')
    listed.find(rb'LIST \([^)]*\\HasChildren[^)]*\) "/" "?Kunden"?\Z')
    listed.find(rb"Kunden/Gr&APYA3w-e")
    client.ok('LSUB "" "*"').find(rb'LSUB \(\) "/" "?Kunden/Gr&APYA3w-e')
    client.ok('LSUB "" "%"').find(rb'LSUB \(\\Noselect\) "/" "?Kunden"?\Z')
    selected = client.ok('SELECT "INBOX"')
    selected.find(rb"\* 3 EXISTS")
    selected.find(rb"\* \d+ RECENT")
    selected.find(rb"\[UNSEEN 2\]")
    assert list(client.ok("UID FETCH 1:* (UID FLAGS)").by_uid()) == [first, second, third]
    found = client.ok(
        f"UID FETCH {first},{second},{third} (UID FLAGS RFC822.SIZE BODY.PEEK[HEADER] INTERNALDATE)"
    ).by_uid()
    assert [value(found[uid], b"BODY[HEADER]").partition(b"Subject: ")[2].split(b"\r\n")[0] for uid in inbox.uids] == [
        b"first", b"=?utf-8?b?5Lya6K6u?=", b"third",
    ]  # fmt: skip
    whole = client.ok(f"UID FETCH {second} (UID FLAGS BODY.PEEK[])").by_uid()[second]
    assert value(whole, b"BODY[]") == SECOND and b"\\Seen" not in flags(whole)
    old = client.ok(f"UID FETCH {third} (UID RFC822.SIZE RFC822.peek)").by_uid()[third]
    assert value(old, b"RFC822") == THIRD
    assert b"\\Seen" not in flags(client.ok(f"UID FETCH {third} (UID FLAGS)").by_uid()[third])
    client.ok(f"UID STORE {second} +FLAGS (\\Seen)")
    client.ok(f'UID COPY {first} "Kunden/Gr&APYA3w-e"')
    client.ok(f"UID STORE {first} +FLAGS (\\Seen \\Deleted)")
    assert client.append('APPEND "Sent" (\\Seen)', FIRST).last.startswith(b"OK")
    client.ok("EXPUNGE").find(rb"\* 1 EXPUNGE")
    client.ok('RENAME "Kunden" "Firmen"')
    client.ok('LIST "" "Firmen/*"').find(rb"Firmen/Gr&APYA3w-e")
    client.ok('UNSUBSCRIBE "Kunden/Gr&APYA3w-e"')
    client.ok('DELETE "Firmen/Gr&APYA3w-e"')
    client.ok("LOGOUT")


def test_android_mail(inbox: Box, connect: Connect) -> None:
    """The system's own program, and Gmail's for accounts of others: they try what only their maker has."""
    _, second, third = inbox.uids
    client = connect("")
    client.ok(
        'ID ("name" "com.google.android.gm" "os" "android" "os-version" "14; UP1A" "vendor" "Google" "AGUID" "x")'
    )
    for command in ('XLIST "" "*"', "FETCH 1 (X-GM-EXT-1)", "UID FETCH 1:* (UID X-GM-MSGID X-GM-LABELS)"):
        assert client.do(command).last.startswith(b"BAD")
    client.ok('LIST "" "*"')
    client.ok('SELECT "INBOX"')
    for command in (
        "UID FETCH 1:* (UID X-GM-MSGID X-GM-LABELS)",
        'UID SEARCH X-GM-RAW "from:a"',
        "FETCH 1 (X-GM-EXT-1)",
    ):
        assert client.do(command).last.startswith(b"BAD")
    wanted = (
        "FETCH 2:3 (UID FLAGS INTERNALDATE RFC822.SIZE "
        "BODY.PEEK[HEADER.FIELDS (date subject from content-type to cc message-id)])"
    )
    assert [number(text, b"UID") for text in client.ok(wanted).fetched().values()] == [second, third]
    assert client.ok(f"UID SEARCH UID {second}:{third} NOT DELETED").find(rb"SEARCH (.*)")[1] == b"%d %d" % (
        second,
        third,
    )
    text = client.ok(f"UID FETCH {second} (UID BODY.PEEK[]<0.51200>)").by_uid()[second]
    assert value(text, b"BODY[]<0>") == SECOND[:51200]
    client.ok(f"UID STORE {second} +FLAGS.SILENT (\\FLAGGED \\SEEN)")
    assert {b"\\Flagged", b"\\Seen"} <= flags(client.ok(f"UID FETCH {second} FLAGS").by_uid()[second])


def test_k9(inbox: Box, connect: Connect) -> None:
    first, second, third = inbox.uids
    client = connect("")
    client.ok("CAPABILITY").find(rb"COMPRESS=DEFLATE")
    client.ok("COMPRESS DEFLATE")
    client.compress()
    client.ok('ID ("name" "K-9 Mail")')
    client.ok("NAMESPACE")
    client.ok('LIST "" "*" RETURN (SPECIAL-USE)').find(rb"\\Sent")
    client.ok('LSUB "" "*"')
    client.ok('STATUS "INBOX" (UIDVALIDITY)')
    client.ok('SELECT "INBOX"')
    assert client.ok("UID SEARCH 1:3 NOT DELETED").find(rb"SEARCH (.*)")[1].split() == [
        b"%d" % uid for uid in inbox.uids
    ]
    fields = (
        "date subject from content-type to cc reply-to message-id references in-reply-to list-unsubscribe sender "
        "X-K9mail-Identity"
    )
    found = client.ok(
        f"UID FETCH {first},{second},{third} (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS ({fields})])"
    ).by_uid()
    assert list(found) == list(inbox.uids)
    client.ok(f"UID FETCH {third} (UID BODYSTRUCTURE)").find(rb"BODYSTRUCTURE \(\(")
    assert value(client.ok(f"UID FETCH {third} (UID BODY.PEEK[1])").by_uid()[third], b"BODY[1]") == b"plain"
    assert value(client.ok(f"UID FETCH {second} (UID BODY.PEEK[])").by_uid()[second], b"BODY[]") == SECOND
    client.ok(f"UID STORE {first} -FLAGS.SILENT (\\Seen)")
    client.ok("UID SEARCH HEADER MESSAGE-ID <2@example.org>").find(rb"SEARCH %d\Z" % second)
    client.ok('UID SEARCH TEXT "html" NOT DELETED').find(rb"SEARCH %d\Z" % third)
    tag = client.begin("IDLE")
    assert client.response().startswith(b"+ ")
    inbox.helper.ok(f"UID STORE {third} +FLAGS (\\Flagged)")
    assert b"\\Flagged" in client.response()
    inbox.helper.ok(f"UID STORE {first} +FLAGS (\\Deleted)")
    inbox.helper.ok("EXPUNGE")
    while client.response() != b"* 1 EXPUNGE":
        pass
    client.send(b"DONE\r\n")
    assert client.until(tag).last.startswith(b"OK")


def test_mutt_with_a_header_cache(inbox: Box, connect: Connect) -> None:
    first, second, third = inbox.uids
    client = connect("a000")
    client.ok("ENABLE UTF8=ACCEPT QRESYNC").find(rb"ENABLED .*QRESYNC")
    opened = client.ok('SELECT "INBOX"')
    valid = number(opened.find(rb"\[UIDVALIDITY.*")[0], b"UIDVALIDITY")
    modseq = number(opened.find(rb"\[HIGHESTMODSEQ.*")[0], b"HIGHESTMODSEQ")
    fields = (
        "DATE FROM SENDER SUBJECT TO CC MESSAGE-ID REFERENCES CONTENT-TYPE CONTENT-DESCRIPTION IN-REPLY-TO REPLY-TO "
        "LINES LIST-POST LIST-SUBSCRIBE LIST-UNSUBSCRIBE X-LABEL X-ORIGINAL-TO"
    )
    found = client.ok(f"FETCH 1:3 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS ({fields})])").fetched()
    assert list(found) == [1, 2, 3]
    client.ok("CLOSE")
    inbox.helper.ok(f"UID STORE {third} +FLAGS (\\Answered)")
    inbox.helper.ok(f"UID STORE {first} +FLAGS (\\Deleted)")
    inbox.helper.ok(f"UID EXPUNGE {first}")
    again = client.ok(f'SELECT "INBOX" (QRESYNC ({valid} {modseq} {first}:{third}))')
    assert again.find(rb"VANISHED \(EARLIER\) (\S+)")[1] == b"%d" % first
    assert {uid: flags(text) >= {b"\\Answered"} for uid, text in again.by_uid().items()} == {third: True}
    # Another validity: nothing of the old time is told.
    other = client.ok(f'SELECT "INBOX" (QRESYNC ({valid + 1} {modseq} {first}:{third}))')
    assert not other.by_uid() and not any(b"VANISHED" in line for line in other.lines)
    assert value(client.ok(f"UID FETCH {second} BODY.PEEK[]").by_uid()[second], b"BODY[]") == SECOND


def test_a_client_with_condstore(inbox: Box, connect: Connect) -> None:
    """As of programs that keep two mailboxes alike: changes since, and a change only if nobody else was there."""
    first, second, third = inbox.uids
    client = connect("A")
    opened = client.ok("SELECT INBOX (CONDSTORE)")
    modseq = number(opened.find(rb"\[HIGHESTMODSEQ.*")[0], b"HIGHESTMODSEQ")
    assert not client.ok(f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {modseq})").by_uid()
    mine = client.ok(f"UID STORE {first} (UNCHANGEDSINCE {modseq}) +FLAGS (\\Flagged)").by_uid()[first]
    assert number(mine, b"MODSEQ") > modseq
    inbox.helper.ok(f"UID STORE {second} +FLAGS (\\Seen)")
    refused = client.do(f"UID STORE {second},{third} (UNCHANGEDSINCE {modseq}) +FLAGS.SILENT (\\Deleted)")
    assert refused.last.startswith(b"OK [MODIFIED %d]" % second)
    now = client.ok(f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {modseq})").by_uid()
    assert list(now) == [first, second, third]
    assert b"\\Deleted" not in flags(now[second]) and b"\\Deleted" in flags(now[third])
    assert client.ok(f"UID SEARCH MODSEQ {modseq + 1}").find(rb"SEARCH ([\d ]+) \(MODSEQ \d+\)")[1].count(b" ") == 2


def test_offlineimap(inbox: Box, connect: Connect) -> None:
    first, second, _ = inbox.uids
    client = connect("OIMP")
    assert client.ok('LIST "" "*"').lines
    client.ok('SELECT "INBOX"')
    listing = client.ok("FETCH 1:3 (FLAGS UID INTERNALDATE)").fetched()
    assert list(listing) == [1, 2, 3]
    (fetched,) = client.ok(f"UID FETCH {first} (BODY.PEEK[])").by_uid().values()
    assert value(fetched, b"BODY[]") == FIRST
    upload = b"X-OfflineIMAP: 7700-4242\r\n" + FIRST
    client.append('APPEND "INBOX" (\\Seen) "23-Nov-2026 10:00:00 +0100"', upload)
    client.ok("CHECK")
    client.ok("UID SEARCH HEADER X-OfflineIMAP 7700-4242").find(rb"SEARCH \d+\Z")
    client.ok(f"UID STORE {second} +FLAGS (\\Deleted)")
    client.ok("EXPUNGE").find(rb"\* 2 EXPUNGE")
    assert client.ok(f"UID FETCH {second} (FLAGS)").lines == []


def test_javamail(instance: Instance, inbox: Box, connect: Connect) -> None:
    client = connect("A", login=False)
    client.ok("CAPABILITY")
    tag = client.begin("AUTHENTICATE PLAIN")
    assert client.response().rstrip() == b"+"
    client.send(plain(instance).encode() + b"\r\n")
    assert client.until(tag).last.startswith(b"OK")
    client.ok("CAPABILITY")
    client.ok('LIST "" INBOX')
    client.ok("SELECT INBOX")
    found = client.ok("FETCH 1:3 (ENVELOPE INTERNALDATE RFC822.SIZE FLAGS BODYSTRUCTURE)").fetched()
    assert re.search(
        rb'ENVELOPE \("Mon, 23 Nov 2026 11:00:00 \+0000" "=\?utf-8\?b\?5Lya6K6u\?=" \(\("=\?utf-8\?q\?B=C3=A4r\?=" NIL '
        rb'"b" "example.org"\)\).*"<1@example.org>" "<2@example.org>"\)',
        found[2],
    )
    message, window = b"", 16384
    while True:
        answer = client.ok(f"FETCH 2 (BODY.PEEK[]<{len(message)}.{window}>)").fetched()[2]
        piece = value(answer, b"BODY[]<%d>" % len(message))
        message += piece
        if len(piece) < window:
            break
    assert message == SECOND
    # RFC 9051 6.4.5: behind the end there is the empty string, not an error and not NIL.
    behind = client.ok(f"FETCH 2 (BODY.PEEK[]<{len(SECOND)}.{window}>)").fetched()[2]
    assert value(behind, b"BODY[]<%d>" % len(SECOND)) == b""
    seen = client.ok("FETCH 2 (BODY[1])")
    assert value(seen.lines[0], b"BODY[1]") == b"Gr=C3=BC=C3=9Fe" and seen.find(rb"2 FETCH \([^)]*\\Seen")
    mime = value(client.ok("FETCH 2 (BODY.PEEK[2.MIME])").fetched()[2], b"BODY[2.MIME]")
    assert mime.startswith(b"Content-Type: application/pdf") and mime.endswith(b"\r\n\r\n")
    client.ok("STORE 1 +FLAGS (\\Answered \\Flagged)").find(rb"1 FETCH")
    client.ok("STORE 1 -FLAGS \\Flagged")
    client.ok("FETCH 1:3 (FLAGS)")
    client.ok("CLOSE")
    client.ok("LOGOUT")


def test_mailkit(instance: Instance, inbox: Box, connect: Connect) -> None:
    first, second, third = inbox.uids
    client = connect("A0000000", login=False)
    assert b"[CAPABILITY " in client.greeting and b"SASL-IR" in client.greeting
    done = client.ok(f"AUTHENTICATE PLAIN {plain(instance)}")
    assert b"[CAPABILITY " in done.last or any(b"CAPABILITY" in line for line in done.lines)
    client.ok("NAMESPACE")
    client.ok('LIST "" "INBOX" RETURN (SUBSCRIBED CHILDREN)').find(rb"LIST \([^)]*\\Subscribed")
    specials = client.ok('LIST (SPECIAL-USE) "" "*" RETURN (SUBSCRIBED CHILDREN)')
    assert len(specials.lines) == 5 and all(b"HasNoChildren" in line for line in specials.lines)
    client.ok("SELECT INBOX (CONDSTORE)")
    found = client.ok(
        f"UID FETCH {first}:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE MODSEQ "
        "BODY.PEEK[HEADER.FIELDS (REFERENCES LIST-ID)])"
    ).by_uid()
    assert list(found) == [first, second, third]
    name = b"BODY[HEADER.FIELDS (REFERENCES LIST-ID)]"
    # A message without any of them has the empty line alone.
    assert value(found[first], name) == b"\r\n" and value(found[second], name).count(b"\r\n") == 3
    search = client.ok("UID SEARCH RETURN (ALL COUNT MIN MAX) UNSEEN").find(rb'ESEARCH \(TAG "\S+"\) UID (.*)')[1]
    assert number(search, b"COUNT") == 2 and number(search, b"MIN") == second and number(search, b"MAX") == third
    assert client.ok("UID SORT RETURN (ALL) (REVERSE DATE) UTF-8 ALL").find(rb"ALL (\S+)")[1] == b"%d,%d,%d" % (
        third, second, first,
    )  # fmt: skip
    client.ok("UID THREAD REFERENCES UTF-8 ALL").find(rb"THREAD .*\(%d %d\)" % (first, second))
    assert value(client.ok(f"UID FETCH {second} (BODY.PEEK[]<0.4096>)").by_uid()[second], b"BODY[]<0>") == SECOND[:4096]
    client.ok(f"UID STORE {third} +FLAGS.SILENT (\\Seen)")
    client.ok("GETQUOTAROOT INBOX")
    client.ok("NOTIFY SET (selected (MessageNew MessageExpunge FlagChange))")
    inbox.helper.append("APPEND INBOX ()", FIRST)
    while b"4 EXISTS" not in client.response():
        pass
    client.ok("NOTIFY NONE")
    client.ok("UNSELECT")


@pytest.mark.parametrize("waiting", [True, False])
def test_login_with_literals(instance: Instance, connect: Connect, waiting: bool) -> None:
    client = connect("l", login=False)
    words = [ALICE.encode(), instance.credentials[ALICE].encode()]
    tag = client.tag()
    mark = b"" if waiting else b"+"
    client.send(tag + b" LOGIN ")
    for place, word in enumerate(words):
        client.send(b"{%d%b}\r\n" % (len(word), mark))
        if waiting:
            assert client.response().startswith(b"+ ")
        client.send(word + (b" " if place == 0 else b"\r\n"))
    assert client.until(tag).last.startswith(b"OK")


def test_fifty_commands_at_once(inbox: Box, connect: Connect) -> None:
    """The answers come in order, each with what belongs to it, literals between them."""
    client = connect("p")
    client.ok("SELECT INBOX")
    commands = []
    for turn in range(10):
        commands += [
            "NOOP",
            "UID FETCH 1:* (FLAGS)",
            f"APPEND Drafts {{{len(FIRST)}+}}\r\n{FIRST.decode()}",
            f"FETCH {turn % 3 + 1} BODY.PEEK[HEADER]",
            "STATUS Drafts (MESSAGES UNSEEN)",
        ]
    tags = [client.tag() for _ in commands]
    client.send(b"".join(b"%b %b\r\n" % (tag, command.encode()) for tag, command in zip(tags, commands, strict=True)))
    counts = []
    for tag, command in zip(tags, commands, strict=True):
        answer = client.until(tag)
        assert answer.last.startswith(b"OK"), (command, answer)
        if command.startswith("STATUS"):
            counts.append(number(answer.lines[0], b"MESSAGES"))
        elif command.startswith("FETCH"):
            assert len(answer.fetched()) == 1
    assert counts == list(range(counts[0], counts[0] + 10))


def test_a_storm_of_noops(inbox: Box, connect: Connect) -> None:
    client = connect("n")
    client.ok("SELECT INBOX")
    tags = [client.tag() for _ in range(2000)]
    client.send(b"".join(tag + b" NOOP\r\n" for tag in tags))
    for tag in tags:
        assert client.until(tag).last.startswith(b"OK")


def test_the_answers_come_to_a_client_that_has_closed_its_half(inbox: Box, connect: Connect) -> None:
    client = connect("c")
    client.ok("SELECT INBOX")
    tags = [client.begin(command) for command in ("NOOP", "FETCH 2 BODY.PEEK[]", "LOGOUT")]
    client.socket.shutdown(socket.SHUT_WR)
    assert client.until(tags[0]).last.startswith(b"OK")
    assert value(client.until(tags[1]).fetched()[2], b"BODY[]") == SECOND
    assert client.until(tags[2]).last.startswith(b"OK")
    with pytest.raises(EOFError):
        client.response()


def test_loose_spellings(inbox: Box, connect: Connect) -> None:
    """Lower case, bare flags, macros, the old names of RFC 3501: all of it is in one grammar or the other."""
    first, second, _ = inbox.uids
    client = connect("s")
    client.ok("select inbox")
    assert flags(client.ok("store 3 +flags \\answered $Done").fetched()[3]) >= {b"\\Answered", b"$Done"}
    assert client.ok("store 3 flags ()").fetched()[3].startswith(b"FLAGS (")
    for macro in ("fast", "all", "full"):
        assert len(client.ok(f"fetch 1:3 {macro}").fetched()) == 3
    assert value(client.ok("fetch 1 rfc822.header").fetched()[1], b"RFC822.HEADER") == FIRST.partition(b"Hi")[0]
    assert value(client.ok("fetch 2 rfc822.text").lines[0], b"RFC822.TEXT") == SECOND.partition(b"\r\n\r\n")[2]
    assert value(client.ok("fetch 1 rfc822").lines[0], b"RFC822") == FIRST
    assert client.ok(f"uid search uid {first},{second}").find(rb"SEARCH (.*)")[1] == b"%d %d" % (first, second)
    assert client.ok("uid fetch 4000000000:4000000001 flags").lines == []
    assert client.do("fetch 9 flags").last.startswith((b"OK", b"BAD"))


def test_a_mechanism_given_up_and_another_tried(instance: Instance, connect: Connect) -> None:
    """As clients do that try one after another: given up, refused, unknown, then the one that works."""
    client = connect("m", login=False)
    tag = client.begin("AUTHENTICATE PLAIN")
    assert client.response().startswith(b"+ ")
    client.send(b"*\r\n")
    assert client.until(tag).last.startswith(b"BAD")
    assert client.do("AUTHENTICATE NTLM").last.startswith(b"NO")
    assert client.do("AUTHENTICATE CRAM-MD5").last.startswith(b"NO")
    # With the name at once, as Outlook's does where SASL-IR is offered.
    tag = client.begin(f"AUTHENTICATE LOGIN {base64.b64encode(ALICE.encode()).decode()}")
    assert base64.b64decode(client.response()[2:]) == b"Password:"
    client.send(base64.b64encode(instance.credentials[ALICE].encode()) + b"\r\n")
    assert client.until(tag).last.startswith(b"OK")


def test_idle_and_its_end_in_one_packet(inbox: Box, connect: Connect) -> None:
    client = connect("i")
    client.ok("SELECT INBOX")
    first, second = client.tag(), client.tag()
    client.send(first + b" IDLE\r\nDONE\r\n" + second + b" NOOP\r\n")
    assert client.response().startswith(b"+ ")
    assert client.until(first).last.startswith(b"OK")
    assert client.until(second).last.startswith(b"OK")


def test_octet_by_octet_and_with_bare_line_feeds(inbox: Box, connect: Connect) -> None:
    """Programs that write to a raw socket, or that people type into."""
    client = connect("t")
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    first, second = client.tag(), client.tag()
    for octet in first + b" select INBOX\r\n" + second + b" APPEND Drafts {%d+}\r\n" % len(FIRST) + FIRST + b"\r\n":
        client.send(bytes([octet]))
    assert client.until(first).last.startswith(b"OK")
    assert b"APPENDUID" in client.until(second).last
    third = client.tag()
    client.send(third + b" FETCH 1 BODY.PEEK[]\n")
    assert value(client.until(third).fetched()[1], b"BODY[]") == FIRST
