"""A real system and clients as people write them: Python's imaplib, IMAPClient, and bare sockets that misbehave."""

import imaplib
import re
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.fakes.instance import Instance

imapclient = pytest.importorskip("imapclient")

ALICE = "alice@example.test"
MESSAGE = b"From: A <a@example.org>\r\nTo: alice@example.test\r\nSubject: Hello\r\n\r\nHi\r\n"


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    with Instance(services=("imap",), main={"imapd_login_timeout": "20s"}) as found:
        yield found


@pytest.fixture
def client(instance: Instance) -> Iterator[imaplib.IMAP4]:
    found = imaplib.IMAP4("127.0.0.1", instance.ports["imap"])
    found.login(ALICE, instance.credentials[ALICE])
    yield found
    found.logout()


class Raw:
    """A socket on which anything can be said."""

    def __init__(self, instance: Instance, *, login: bool = True) -> None:
        self.socket = socket.create_connection(("127.0.0.1", instance.ports["imap"]), 20)
        self.file = self.socket.makefile("rb")
        self.file.readline()
        if login:
            assert self.do(f"login {ALICE} {instance.credentials[ALICE]}")[-1].startswith(b"x OK")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def do(self, command: str, tag: str = "x") -> list[bytes]:
        self.send(f"{tag} {command}\r\n".encode())
        return self.until(tag)

    def until(self, tag: str) -> list[bytes]:
        found: list[bytes] = []
        while True:
            line = self.file.readline()
            if not line:
                raise EOFError(found)
            found.append(line.rstrip(b"\r\n"))
            if line.startswith(tag.encode() + b" "):
                return found

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def test_a_new_account_has_its_folders(client: imaplib.IMAP4) -> None:
    _, data = client.list()
    listed = {line.decode() for line in data if isinstance(line, bytes)}
    for name in ("Drafts", "Sent", "Junk", "Trash", "Archive"):
        assert f'(\\HasNoChildren \\{name}) "/" {name}' in listed
    _, data = client.lsub()
    assert len(data) >= 6


def test_imaplib(client: imaplib.IMAP4) -> None:
    client.create("Work")
    status, _ = client.append("Work", "(\\Seen)", imaplib.Time2Internaldate(1700000000), MESSAGE)
    assert status == "OK"
    assert client.select("Work") == ("OK", [b"1"])
    _, data = client.fetch("1", "(FLAGS INTERNALDATE RFC822.SIZE BODY[HEADER.FIELDS (SUBJECT)])")
    assert isinstance(data[0], tuple)
    assert data[0][1] == b"Subject: Hello\r\n\r\n"
    assert imaplib.ParseFlags(data[0][0]) != ()
    assert client.search(None, "SUBJECT", "hello") == ("OK", [b"1"])
    assert client.store("1", "+FLAGS", "\\Deleted")[0] == "OK"
    assert client.expunge() == ("OK", [b"1"])
    assert client.getquotaroot("Work")[0] == "OK"
    assert client.myrights("Work")[0] == "OK"
    assert client.namespace()[1] == [b'(("" "/")) (("user/" "/")) NIL']
    client.close()
    assert client.rename("Work", "Play")[0] == "OK"
    assert client.delete("Play")[0] == "OK"


def test_imapclient(instance: Instance) -> None:
    with imapclient.IMAPClient("127.0.0.1", instance.ports["imap"], ssl=False, use_uid=True) as client:
        client.login(ALICE, instance.credentials[ALICE])
        assert client.has_capability("NOTIFY") and client.has_capability("CONDSTORE")
        client.create_folder("Büro/Größe")
        client.append("Büro/Größe", MESSAGE, flags=[b"$Work"])
        info = client.select_folder("Büro/Größe")
        assert info[b"EXISTS"] == 1
        (uid,) = client.search(["SUBJECT", "Hello"])
        envelope = client.fetch([uid], ["ENVELOPE", "BODYSTRUCTURE", "FLAGS"])[uid]
        assert envelope[b"ENVELOPE"].subject == b"Hello" and b"$Work" in envelope[b"FLAGS"]
        client.move([uid], "INBOX")
        assert client.folder_status("Büro/Größe", ["MESSAGES"])[b"MESSAGES"] == 0
        client.idle()
        instance.send(ALICE)
        instance.log.wait("status=sent")
        client.idle_check(timeout=0.2)
        client.idle_done()
        client.close_folder()
        client.delete_folder("Büro/Größe")


def test_idle_hears_of_a_delivery(instance: Instance) -> None:
    raw = Raw(instance)
    raw.do("select inbox")
    raw.send(b"i idle\r\n")
    assert raw.file.readline().startswith(b"+")
    instance.send(ALICE)
    assert re.match(rb"\* \d+ EXISTS", raw.file.readline())
    raw.send(b"done\r\n")
    raw.until("i")
    raw.close()


def test_notify_hears_of_a_delivery(instance: Instance) -> None:
    raw = Raw(instance)
    raw.do("notify set (mailboxes INBOX (MessageNew MessageExpunge))")
    instance.send(ALICE)
    assert re.match(rb"\* STATUS INBOX \(UIDNEXT \d+ MESSAGES \d+\)", raw.file.readline())
    raw.close()


def test_a_mailbox_that_is_shared(instance: Instance) -> None:
    """auth tells where the other's mailbox is; both accounts belong to who they belong to."""
    other = next(name for name in instance.credentials if name != ALICE and name.endswith("@example.test"))
    mine = Raw(instance)
    mine.do("create Team")
    mine.send(b"x append Team {%d+}\r\n%b\r\n" % (len(MESSAGE), MESSAGE))
    mine.until("x")
    assert mine.do(f"setacl Team {other} lri")[-1].startswith(b"x OK")
    theirs = Raw(instance, login=False)
    assert theirs.do(f"login {other} {instance.credentials[other]}")[-1].startswith(b"x OK")
    name = f"user/{ALICE}/Team"
    assert any(name.encode() in line for line in theirs.do('list "" *'))
    assert theirs.do(f"select {name}")[-1].startswith(b"x OK [READ-WRITE]")
    assert any(b"Subject: Hello" in line for line in theirs.do("fetch 1 body.peek[]"))
    assert theirs.do("copy 1 inbox")[-1].startswith(b"x OK [COPYUID")
    theirs.do("select inbox")
    assert theirs.do(f"copy * {name}")[-1].startswith(b"x OK [COPYUID")
    assert b"* STATUS Team (MESSAGES 2)" in mine.do("status Team (messages)")
    assert theirs.do("store 1 +flags (\\Seen)")[-1].startswith(b"x OK")
    mine.do("delete Team")
    assert not any(name.encode() in line for line in theirs.do('list "" *'))
    mine.close()
    theirs.close()


MALFORMED = (
    b"\r\n", b"x\r\n", b"x y z\r\n",
    b"* ok\r\n", b"+ x noop\r\n", b"x noop noop\r\n", b"x select\r\n", b"x select (\r\n",
    b'x select "inbox\r\n', b"x fetch\r\n", b"x fetch 1\r\n", b"x fetch 0 flags\r\n", b"x fetch 1:x flags\r\n",
    b"x fetch 99999999999 flags\r\n", b"x uid\r\n", b"x uid nonsense 1\r\n", b"x store 1 flags\r\n",
    b"x store 1 nonsense (\\Seen)\r\n", b"x store 1 flags (\\Recent)\r\n", b"x append inbox\r\n",
    b"x append inbox (\\Seen {3+}\r\nabc\r\n", b"x status inbox ()\r\n", b"x status inbox (nonsense)\r\n",
    b"x list\r\n", b"x list (nonsense) \"\" *\r\n", b"x search nonsense\r\n", b"x search charset\r\n",
    b"x login a\r\n", b"x copy 1\r\n", b"x create\r\n", b"x rename a\r\n", b"x notify\r\n", b"x setacl a b\r\n",
    b"x getmetadata\r\n", b"x fetch 1 body[\r\n", b"x fetch 1 body[1.0]\r\n", b"x fetch 1 (flags\r\n",
    b"x \x80\xff\r\n", b"x noop\x00\r\n", b"x enable\r\n", b"x " + b"a" * 5000 + b"\r\n", b"x search (((\r\n",
)  # fmt: skip


def test_malformed_commands_are_bad_and_the_session_goes_on(instance: Instance) -> None:
    raw = Raw(instance)
    raw.do("select inbox")
    for number, command in enumerate(MALFORMED):
        raw.send(command + b"n%d noop\r\n" % number)
        found = raw.until(f"n{number}")
        assert found[-1].startswith(b"n%d OK" % number), command
        answers = [line for line in found[:-1] if b" BAD " in line or b" NO " in line]
        assert len(answers) == 1, (command, found)
        assert b" BAD " in answers[0], (command, found)
    raw.close()


def test_four_gigabytes_announced(instance: Instance) -> None:
    raw = Raw(instance)
    (answer,) = raw.do("append inbox {4294967296}")
    assert answer.startswith(b"x NO [TOOBIG]")
    assert raw.do("noop")[-1].startswith(b"x OK")
    raw.send(b"x append inbox {4294967296+}\r\n")
    found = raw.file.readline()
    # RFC 7888 4: it may be refused, and the connection closed rather than all that be read.
    assert found.startswith((b"x NO [TOOBIG]", b"* BYE"))
    raw.close()
    raw = Raw(instance, login=False)
    raw.send(b"x login {4294967296}\r\n")
    assert raw.file.readline().startswith(b"x NO [TOOBIG]")
    raw.close()


def test_a_client_that_never_reads_costs_little(instance: Instance) -> None:
    raw = Raw(instance)
    big = b"Subject: big\r\n\r\n" + b"x" * 70 + b"\r\n" * 2_000
    for _ in range(10):
        raw.send(b"a append inbox {%d+}\r\n%b\r\n" % (len(big), big))
        raw.until("a")
    raw.do("select inbox")
    raw.socket.settimeout(2)
    (pid,) = instance.pids("imapd")

    def resident() -> int:
        with open(f"/proc/{pid}/status") as file:
            found = re.search(r"VmRSS:\s+(\d+) kB", file.read())
        assert found is not None
        return int(found[1])

    before = resident()
    command = b"f fetch 1:* body.peek[]\r\n"
    try:
        for _ in range(20_000):
            raw.send(command * 50)
    except TimeoutError:
        pass
    # The others are served meanwhile, and what waits is bounded.
    started = time.monotonic()
    other = Raw(instance)
    assert other.do("select inbox")[-1].startswith(b"x OK")
    assert time.monotonic() - started < 5
    assert resident() - before < 20_000
    other.close()
    raw.close()


def test_two_clients_agree(instance: Instance) -> None:
    """Both work on one mailbox at the same time; at the end both see the same."""
    first = Raw(instance)
    first.do("create Both")
    first.close()
    failures: list[object] = []

    def work(name: str) -> None:
        try:
            raw = Raw(instance)
            raw.do("select Both")
            for number in range(15):
                raw.send(b"x append Both {%d+}\r\n%b\r\n" % (len(MESSAGE), MESSAGE))
                assert raw.until("x")[-1].startswith(b"x OK")
                raw.do(f"uid store 1:* +flags ({name}{number % 3})")
                if number % 5 == 4:
                    raw.do("uid store 1:3 +flags.silent (\\Deleted)")
                    raw.do("expunge")
            raw.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    views = []
    for _ in range(2):
        raw = Raw(instance)
        found = raw.do("examine Both")
        count = next(line for line in found if line.endswith(b" EXISTS"))
        lines = raw.do("fetch 1:* (uid flags)")[:-1]
        assert count == b"* %d EXISTS" % len(lines)
        views.append([line.replace(b" \\Recent", b"") for line in lines if b"FETCH" in line])
        raw.close()
    assert views[0] == views[1] and len(views[0]) == 27
