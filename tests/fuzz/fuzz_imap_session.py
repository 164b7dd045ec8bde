"""Fuzzes whole sessions of imapd, over real accounts in a directory in memory: octets in, answers out.

The invariant: whatever a client sends, nothing panics and no task dies unheard; each line that goes out is an answer of
RFC 9051 with whole literals; each command and each refused line is answered once, in order, with its own tag and no
other; who could not log in reaches no mailbox, who did reaches only his own; and the commands are answered alike
whether the octets came whole or one by one.

    python -m tests.fuzz imap_session -max_total_time=20
"""

import asyncio
import os
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast
from unittest import mock

from tubepost.common.imap.reader import Bad, Command, Event, LiteralBegin

from tubepost.common.wire import auth
from tubepost.common.system import log

from tests.fakes.imap import DOMAIN, FakeImapd
from tests.fuzz.driver import Harness, one_by_one
from tubepost.services.imapd.session import Session

SECRET = b"bobs-own-words"
"""In each message of somebody else."""
LOGIN = f"l LOGIN alice@{DOMAIN} secret\r\n".encode()
WORDS = [
    LOGIN, f"l LOGIN bob@{DOMAIN} secret\r\n".encode(), b"a ", b"b UID ", b"c SELECT inbox\r\n", b"d SELECT Box\r\n",
    b"e UNAUTHENTICATE\r\n", b"f LOGOUT\r\n", b"g IDLE\r\n", b"DONE\r\n", b"h NOOP\r\n", b"i AUTHENTICATE PLAIN\r\n",
    b"AAAA\r\n", b"*\r\n", b"j STARTTLS\r\n", b"k COMPRESS DEFLATE\r\n", b"m EXPUNGE\r\n", b"n CLOSE\r\n",
    b"o APPEND inbox (\\Seen) {9+}\r\nSubject:\r\n", b"o APPEND Box {9}\r\n", b"p REPLACE 1 inbox ", b"FETCH 1:* ",
    b"FETCH 2 (BODY[1] ENVELOPE)\r\n", b"BODY.PEEK[HEADER.FIELDS (Subject)]<0.9> ", b"BINARY[1] ", b"PREVIEW ",
    b"STORE 1:* +FLAGS (\\Deleted $x)\r\n", b"COPY 1:* Box\r\n", b"MOVE 1 Box\r\n", b"SEARCH ", b"RETURN (SAVE COUNT) ",
    b"SORT (SUBJECT) UTF-8 ALL\r\n", b"THREAD REFERENCES UTF-8 ALL\r\n", b"OR TEXT x SEEN\r\n", b"$ FLAGS\r\n",
    b"FULL\r\n",
    b"q CREATE Box\r\n", b"q CREATE ", b"r DELETE Box\r\n", b"s RENAME Box Chest\r\n", b"s RENAME inbox Box\r\n",
    b't LIST "" (* %) RETURN (SUBSCRIBED STATUS (MESSAGES))\r\n', b't LSUB "" *\r\n',
    b"u STATUS Box (MESSAGES SIZE)\r\n",
    f"v SETACL Box bob@{DOMAIN} lrswi\r\n".encode(), b"v GETACL inbox\r\n", f"w SELECT user/bob@{DOMAIN}\r\n".encode(),
    f"w COPY 1 user/bob@{DOMAIN}\r\n".encode(), b"../bob", b"/", b"x ENABLE QRESYNC UTF8=ACCEPT IMAP4REV2 UIDONLY\r\n",
    b"y NOTIFY SET (personal (MessageNew MessageExpunge FlagChange))\r\n",
    b'z SETMETADATA "" (/private/comment "x")\r\n',
    b'z GETMETADATA (DEPTH infinity) "" /private\r\n',
    b'GENURLAUTH "imap://alice@h/inbox/;uid=1;urlauth=anonymous" INTERNAL\r\n',
    f'URLFETCH "imap://bob@{DOMAIN}/inbox/;uid=1"\r\n'.encode(), b'CATENATE (URL "/inbox;UIDVALIDITY=1/;UID=1")\r\n',
    b"ESEARCH IN (personal) ALL\r\n", b"GETQUOTAROOT inbox\r\n", b"SETQUOTA x (STORAGE 1)\r\n", b"{3}\r\n", b"{3+}\r\n",
    b"~{4+}\r\n", b"{99999999}\r\n", b"abc", b'"', b"(", b")", b" ", b"\r\n", b"\n", b"\r", b"\xff", b"\0", b"&",
    b"1:* ",
    b"\x00\x08\x00\xf7\xff" + b"h NOOP\r\n", b"x" * 300,
]  # fmt: skip
# An answer to a command. Its words are no place for a literal.
TAGGED = re.compile(rb"([^\x00-\x20\x7f-\xff(){%*\"\\+]+) (OK|NO|BAD) [^\r\n\0]+")
UNTAGGED = re.compile(rb"\* (?:[A-Z][A-Z0-9-]*|[0-9]+ [A-Z]+)(?: |\r|\Z)")
STATUS = re.compile(rb"\S+ (?:OK|NO|BAD|BYE) ")
# All that may be said to who has not logged in.
STRANGER = re.compile(rb"\* (?:OK|NO|BAD|BYE|CAPABILITY|ID) ")
LITERAL = re.compile(rb"\{([0-9]+)\}\Z")
DEFLATES = b" OK DEFLATE active"
LIMITS = {"imapd_line_length_limit": "8192", "imapd_literal_limit": "8192", "imapd_bad_command_limit": "20"}
# One who sends more is not kept waiting for longer than this, seconds.
PATIENCE = 30.0


class Played(NamedTuple):
    """What a session said, and what it was asked: tags of the commands that were carried out or refused, in order."""

    output: bytes
    asked: list[bytes]


class _Exchange:
    """Of auth: lets in alice, or nobody."""

    def __init__(self, users: dict[bytes, auth.User]) -> None:
        self._users = users

    async def begin(self, mechanism: str, initial: bytes | None) -> Any:
        return auth.Challenge(data=b"") if initial is None else await self.go_on(initial)

    async def go_on(self, answer: bytes) -> Any:
        await asyncio.sleep(0)
        user = self._users.get(answer)
        return auth.Success(user=user) if user else auth.Failure(cause="credentials", text="Authentication failed")

    def abandon(self) -> None:
        pass


class _Auth:
    def __init__(self, *users: auth.User) -> None:
        self._users = {f"\0{user.name}\0secret".encode(): user for user in users}

    async def offer(self, asker: Any) -> tuple[str, ...]:
        return ("PLAIN",)

    def known_offer(self, asker: Any) -> tuple[str, ...]:
        return ("PLAIN",)

    def exchange(self, asker: Any) -> _Exchange:
        return _Exchange(self._users)


def furnish(account: Path, words: bytes) -> None:
    """Three messages, and a folder Box."""
    for part in ("cur", "new", "tmp", ".Box/cur", ".Box/new", ".Box/tmp"):
        (account / part).mkdir(parents=True)
    (account / ".Box" / "maildirfolder").touch()
    for number, flags in enumerate(("", "S", "FT")):
        text = b"From: a@b.test\r\nSubject: %b %d\r\nMessage-ID: <%d@b.test>\r\n\r\n%b\r\n" % (
            words,
            number,
            number,
            words,
        )
        (account / "cur" / f"{number}.m.host:2,{flags}").write_bytes(text)


def contents(account: Path) -> dict[str, bytes]:
    """All of it but the index, which is made anew by who looks."""
    return {
        str(path.relative_to(account)): path.read_bytes()
        for path in sorted(account.rglob("*"))
        if path.is_file() and not path.name.startswith("tubepost.")
    }


def _watch(session: Session, asked: list[bytes]) -> None:
    """Note each tag that is to be answered, once that is done."""
    handle, refuse = session._handle, session._refuse_upload

    async def noting(event: Event) -> bool:
        going_on = await handle(event)
        if isinstance(event, Command | Bad):
            asked.append(event.tag)
        return going_on

    def noting_refusal(event: LiteralBegin, *rest: Any) -> None:
        refuse(event, *rest)
        asked.append(event.tag)

    cast(Any, session)._handle = noting
    cast(Any, session)._refuse_upload = noting_refusal


async def _until(reached: Callable[[], bool]) -> None:
    """The threads of the mailboxes tell nobody but the session: it is looked at."""
    async with asyncio.timeout(PATIENCE):
        turns = 0
        while not reached():
            turns += 1
            await asyncio.sleep(0 if turns < 100 else 0.0005)


async def _play(directory: str, pieces: list[bytes], known: bool) -> Played:
    troubles: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(str(context)))

    def silent(text: str, when: float = 0.0) -> None:
        pass

    asked: list[bytes] = []
    loud: dict[str, Any] = {
        name: (lambda text, name=name: troubles.append(f"{name}: {text}")) for name in ("panic", "fatal", "error")
    }
    with mock.patch.multiple(log, warning=silent, info=silent, debug=silent, **loud):
        server = FakeImapd(directory, **LIMITS)
        await server.open()
        users = server.users
        server.auth = cast(Any, _Auth(users[f"alice@{DOMAIN}"]) if known else _Auth())
        opened: list[str] = []
        open_mailbox = server.mailboxes.open

        async def opening(user: auth.User) -> Any:
            opened.append(user.name)
            return await open_mailbox(user)

        cast(Any, server.mailboxes).open = opening
        client = await server.connect()
        session, transport = client.session, client.transport
        _watch(session, asked)
        for piece in pieces:
            await _until(lambda: not transport.paused or transport.closing)
            if transport.closing:
                break
            client.write(piece)
            await asyncio.sleep(0)
        # It waits for more, or is over.
        await _until(lambda: not server.sessions or (session._input is not None and not session._input.done()))
        assert session.reader.waiting <= 2 * session.ahead
        if server.sessions:
            session.connection_lost(None)
        await _until(lambda: not server.sessions)
        await server.close()
    assert not troubles, troubles
    assert known or not opened, f"{opened}: opened for a stranger"
    return Played(bytes(transport.sent), asked)


def lines_of(output: bytes) -> Iterator[bytes]:
    """Lines with the literals that are in them. Raises AssertionError when one is cut short."""
    while output:
        line = b""
        while True:
            part, end, output = output.partition(b"\r\n")
            assert end, f"no whole line: {line + part!r}"
            line += part
            found = None if STATUS.match(line) else LITERAL.search(part)
            if found is None:
                break
            size = int(found[1])
            assert len(output) >= size, f"a literal is cut short: {line!r}"
            line, output = line + end + output[:size], output[size:]
        yield line
        if line.endswith(DEFLATES):
            inflate = zlib.decompressobj(wbits=-15)
            yield from lines_of(inflate.decompress(output))
            output = inflate.unused_data


def judge(played: Played, data: bytes, known: bool) -> list[tuple[bytes, bytes]]:
    """The answers to commands: tags, and OK, NO or BAD."""
    answers = []
    for line in lines_of(played.output):
        if line.startswith(b"* "):
            assert UNTAGGED.match(line), line
            assert known or STRANGER.match(line), f"said to a stranger: {line!r}"
        elif not line.startswith(b"+ "):
            found = TAGGED.fullmatch(line)
            assert found, f"no answer: {line!r}"
            assert b"SERVERBUG" not in line, line
            answers.append((found[1], found[2]))
    expected = [tag for tag in played.asked if tag != b"*"]
    if b"DEFLATE" in data.upper():
        # Compressed data that breaks ends the connection at once; nobody hears what was under way.
        expected = expected[: len(answers)]
    assert [tag for tag, _ in answers] == expected, f"{answers} answer {expected}"
    # And as somebody counts who does not ask our reader; what is compressed shows no lines.
    if b"DEFLATE" not in data.upper():
        assert len(answers) <= data.count(b"\n") + 1, f"more answers than lines: {answers}"
        assert all(tag in data for tag, _ in answers), answers
    return answers


def check(settings: int, data: bytes) -> None:
    known = not settings & 1
    if known and settings & 2:
        data = LOGIN + b"c SELECT inbox\r\n" + data
    answers = []
    for pieces in ([data], one_by_one(data)):
        with tempfile.TemporaryDirectory(prefix="fuzz-", dir=MEMORY) as made:
            alice, bob = (Path(made, "alice"), Path(made, "bob"))
            furnish(alice, b"words")
            furnish(bob, SECRET)
            strange = [contents(bob)] if known else [contents(alice), contents(bob)]
            played = asyncio.run(_play(made, pieces, known))
            answers.append(judge(played, data, known))
            assert strange == ([contents(bob)] if known else [contents(alice), contents(bob)]), (
                "another's mail is changed"
            )
            assert SECRET not in played.output or SECRET in data, "another's mail is shown"
    whole, pieced = answers
    if b"DEFLATE" in data.upper():
        # How much of compressed data is understood before it breaks is a matter of the portions.
        whole, pieced = whole[: len(pieced)], pieced[: len(whole)]
    assert whole == pieced, f"whole: {whole}; in pieces: {pieced}"


MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
SEEDS = (
    b"\2d FETCH 1:* (FLAGS BODY[] ENVELOPE)\r\ne STORE 1 +FLAGS (\\Deleted)\r\nf EXPUNGE\r\ng COPY 1 Box\r\n",
    b"\2d APPEND Box {9}\r\nSubject:\r\ne SELECT Box\r\nf SEARCH RETURN (SAVE) ALL\r\n"
    b"g MOVE $ inbox\r\nh IDLE\r\nDONE\r\n",
    b"\0" + LOGIN + b'b LIST "" *\r\nc COMPRESS DEFLATE\r\n\x00\x08\x00\xf7\xffh NOOP\r\n',
    b"\0a AUTHENTICATE PLAIN\r\n*\r\nb STARTTLS\r\nc LOGOUT\r\n",
    b"\1" + LOGIN + b'c SELECT inbox\r\nd APPEND inbox {3+}\r\nabc\r\ne LIST "" *\r\n',
)
HARNESS = Harness(check, WORDS, SEEDS, swollen=4000)
