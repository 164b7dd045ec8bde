"""tubepost mailbox import from servers that are odd, hostile, or hang up: a script stands for the server."""

import os
import re
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest

from tubepost.common.mailbox.maildir.account import MaildirAccount

from tubepost.commands.mailbox.address import RemoteError, parse_address
from tubepost.commands.mailbox.importing import _import_folder, _Names
from tubepost.commands.mailbox.intake import Known
from tubepost.commands.mailbox.places import Place
from tubepost.commands.mailbox.remote import Remote

PATIENCE = 20


class Server(threading.Thread):
    """Answers each line whose words begin with a pattern; ``{tag}`` is the tag. ``None``: hangs up."""

    def __init__(self, greeting: bytes, script: Sequence[tuple[bytes, bytes | None]]) -> None:
        super().__init__(daemon=True)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._greeting = greeting
        self._script = script

    @property
    def address(self) -> str:
        return f"imap://a@127.0.0.1:{self._socket.getsockname()[1]}"

    def run(self) -> None:
        connection, _ = self._socket.accept()
        connection.settimeout(PATIENCE)
        with connection, connection.makefile("rb") as file:
            connection.sendall(self._greeting)
            tag = b""
            while line := _read_line(file):
                first, _, words = line.strip().partition(b" ")
                # What has no tag answers a continuation.
                tag, words = (first, words) if words else (tag, first)
                for pattern, answer in self._script:
                    if re.match(pattern, words):
                        if answer is None:
                            return
                        _send(connection, answer.replace(b"{tag}", tag))
                        break
                else:
                    _send(connection, tag + b" OK done\r\n")
                if words == b"LOGOUT":
                    return

    def close(self) -> None:
        self._socket.close()
        self.join(PATIENCE)


def _read_line(file: BinaryIO) -> bytes:
    try:
        return file.readline()
    except OSError:
        return b""


def _send(connection: socket.socket, data: bytes) -> None:
    try:
        connection.sendall(data)
    except OSError:
        # The client has had enough.
        pass


_GREETING = b"* OK [CAPABILITY IMAP4rev1] hello\r\n"


def connect(server: Server, password: str = "p") -> Remote:
    server.start()
    address = parse_address(server.address)
    assert address is not None
    remote = Remote(address)
    remote.login("a", password)
    return remote


@pytest.fixture
def account() -> Iterator[MaildirAccount]:
    root = tempfile.mkdtemp(prefix="tp-")
    made = MaildirAccount(f"{root}/m")
    yield made
    made.close()
    shutil.rmtree(root)


class System:
    def changed(self, *_: object) -> None:
        pass


def bring(remote: Remote, account: MaildirAccount) -> None:
    for one in remote.folders():
        name = _Names("", ())(one.name)
        _import_folder(System(), Place("a", account.root, None), remote, one, account, name, False)  # type: ignore[arg-type]


def contents(account: MaildirAccount, name: str) -> list[bytes]:
    folder = account.folder(name)
    found = []
    for uid, _ in folder.uids():
        fd = folder.open(uid)
        found.append(os.pread(fd, 1000, 0))
        os.close(fd)
    return found


def test_odd_but_understood(account: MaildirAccount) -> None:
    """Bodies in quotes, UIDs behind the body, NIL, news of others between, LOGIN with literals, names in literals."""
    server = Server(
        _GREETING,
        [
            (rb"LOGIN", b"+ go on\r\n"),
            (rb"LIST", b'* LIST (\\Marked) "/" {6}\r\nOdd\\"x\r\n* LIST (\\Noselect) "/" None\r\n{tag} OK done\r\n'),
            (rb"UID SEARCH", b"* SEARCH 3 1\r\n* SEARCH 2 9\r\n{tag} OK done\r\n"),
            (
                rb"UID FETCH [0-9:,]+ \(UID FLAGS",
                b"* 7 FETCH (FLAGS (\\Seen))\r\n"
                b'* 1 FETCH (UID 1 RFC822.SIZE 9 FLAGS (\\Recent $A) INTERNALDATE " 1-Jan-2020 00:00:00 +0000" '
                b'BODY[HEADER.FIELDS ("MESSAGE-ID")] {21}\r\nMessage-ID: <1@x>\r\n\r\n)\r\n'
                b"* 2 FETCH (RFC822.SIZE 5 UID 2 BODY[HEADER.FIELDS (MESSAGE-ID)] NIL FLAGS NIL)\r\n"
                b'* 3 FETCH (UID 3 RFC822.SIZE 5 BODY[HEADER.FIELDS (MESSAGE-ID)] "")\r\n'
                b'* 4 FETCH (UID 9 RFC822.SIZE 5 BODY[HEADER.FIELDS (MESSAGE-ID)] "")\r\n{tag} OK done\r\n',
            ),
            (
                rb"UID FETCH",
                b'* 2 FETCH (BODY[] "A: b" UID 2)\r\n* 9 EXISTS\r\n* 3 FETCH (UID 3 BODY[] NIL)\r\n'
                b"* 5 FETCH (UID 77 BODY[] {3}\r\nxyz)\r\n"
                b"* 1 FETCH (BODY[] {6}\r\nB: c\r\n FLAGS () UID 1)\r\n{tag} OK done\r\n",
            ),
        ],
    )
    remote = connect(server, 'pä"')
    bring(remote, account)
    remote.close()
    server.close()
    assert contents(account, 'Odd\\"x') == [b"B: c\n", b"A: b"]
    assert not os.listdir(f"{account.root}/tmp")
    assert Known(account.folder('Odd\\"x')) is not None


@pytest.mark.parametrize(
    ("greeting", "script", "words"),
    [
        (b"* BYE busy\r\n", [], "busy"),
        (b"220 smtp.test ESMTP\r\n", [], "no greeting"),
        (b"* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] x\r\n", [], "no way to log in"),
        (_GREETING, [(rb"LOGIN", b"{tag} NO [AUTHENTICATIONFAILED] no\r\n")], "refuses LOGIN: no"),
        (_GREETING, [(rb"LOGIN", b"* BYE go away\r\n")], "go away"),
        (_GREETING, [(rb"LOGIN", None)], "closed the connection"),
        (_GREETING, [(rb"LOGIN", b"\x00\x00\r\n")], "NUL"),
        (_GREETING, [(rb"LOGIN", b"+ x\r\n")], "waits for something"),
        (_GREETING, [(rb"LIST", b"* LIST ((((\r\n{tag} OK\r\n")], "where a value was expected"),
        (_GREETING, [(rb"UID SEARCH", b"* SEARCH " + b"1 " * 5_000_000)], "more than"),
        (_GREETING, [(rb"LIST", b"* LIST () NIL {99999999999}\r\n")], "octets"),
        (
            b"* OK [CAPABILITY IMAP4rev1 STARTTLS] x\r\n",
            [(rb"STARTTLS", b"{tag} OK go\r\n* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] said in clear\r\n")],
            "more than the answer to STARTTLS",
        ),
        (
            b"* OK [CAPABILITY IMAP4rev1 AUTH=SCRAM-SHA-256] x\r\n",
            [(rb"AUTHENTICATE", b"+ \r\n"), (rb"biws|Y2", b"+ cj1ldmlsLHM9QUFBQSxpPTQwOTY=\r\n")],
            "SCRAM",
        ),
    ],
)
def test_refused_in_words(
    account: MaildirAccount, greeting: bytes, script: Sequence[tuple[bytes, bytes | None]], words: str
) -> None:
    server = Server(greeting, [*script, (rb"LIST", b'* LIST () "/" x\r\n{tag} OK done\r\n')])
    with pytest.raises(RemoteError, match=re.escape(words)):
        bring(connect(server), account)
    server.close()


def test_cut_off_within_a_message_and_begun_again(account: MaildirAccount) -> None:
    """What came as a whole stays, nothing is left of the rest, and the next run brings what is missing, once."""
    facts = b"".join(
        b'* %d FETCH (UID %d RFC822.SIZE 17 INTERNALDATE "01-Jan-2020 00:00:0%d +0000" '
        b'BODY[HEADER.FIELDS (MESSAGE-ID)] "")\r\n' % (n, n, n)
        for n in (1, 2, 3)
    )
    begin: list[tuple[bytes, bytes | None]] = [
        (rb"LIST", b'* LIST () "/" x\r\n{tag} OK done\r\n'),
        (rb"UID SEARCH", b"* SEARCH 1 2 3\r\n{tag} OK done\r\n"),
        (rb"UID FETCH [0-9:,]+ \(UID FLAGS", facts + b"{tag} OK done\r\n"),
    ]

    def message(number: int) -> bytes:
        return b"* %d FETCH (UID %d BODY[] {17}\r\nSubject: no %d\r\n\r\n)\r\n" % (number, number, number)

    cut = message(1) + message(2) + message(3)[:40] + b"{tag}"
    server = Server(_GREETING, [*begin, (rb"UID FETCH", cut)])
    remote = connect(server)

    def hang_up() -> None:
        remote._socket.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(0.3, hang_up)
    timer.start()
    with pytest.raises(RemoteError):
        bring(remote, account)
    timer.join()
    server.close()
    assert contents(account, "x") == [b"Subject: no 1\n\n", b"Subject: no 2\n\n"]
    assert not os.listdir(f"{account.root}/.x/tmp")
    server = Server(_GREETING, [*begin, (rb"UID FETCH", message(1) + message(2) + message(3) + b"{tag} OK done\r\n")])
    remote = connect(server)
    bring(remote, account)
    assert len(contents(account, "x")) == 3
    bring(remote, account)
    assert len(contents(account, "x")) == 3
    remote.close()
    server.close()
    assert Path(account.root, ".x").is_dir()
