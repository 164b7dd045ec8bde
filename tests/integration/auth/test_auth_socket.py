"""auth and authclient in a running system: the socket that other servers ask, and look-ups on the bus."""

import asyncio
import base64
import os
import socket
from collections.abc import Iterator

import pytest

from tubepost.common.sasl.scram import ScramClient
from tubepost.common.wire import auth
from tubepost.common.bus import Bus
from tubepost.common.bus.errors import Forbidden, Refusal
from tubepost.common.config.instance import read_credentials

from tests.fakes.instance import Instance

ALICE = "alice@example.test"


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    with Instance(main={"auth_failure_delay": "0"}) as made:
        yield made


class Asker:
    """Another server on the socket."""

    def __init__(self, instance: Instance) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(instance.spool / "public" / "auth-client"))
        self.lines = self.socket.makefile("rb")
        self.greeting = []
        while (line := self.read()) != ["DONE"]:
            self.greeting.append(line)
        self.socket.sendall(b"VERSION\t1\t2\nCPID\t1\n")

    def read(self) -> list[str]:
        line = self.lines.readline().decode()
        assert line.endswith("\n"), "the connection ended"
        return line.rstrip("\n").split("\t")

    def ask(self, *words: str) -> list[str]:
        self.socket.sendall(("\t".join(words) + "\n").encode())
        return self.read()

    def plain(self, number: int, login: str, password: str, *more: str) -> list[str]:
        response = base64.b64encode(f"\0{login}\0{password}".encode()).decode()
        return self.ask("AUTH", str(number), "PLAIN", "service=smtp", "rip=192.0.2.1", *more, f"resp={response}")


def _password(instance: Instance, name: str = ALICE) -> str:
    return read_credentials(str(instance.root / "credentials.txt"))[name]


def test_a_password_is_checked(instance: Instance) -> None:
    asker = Asker(instance)
    assert ["VERSION", "1", "2"] in asker.greeting
    assert ["MECH", "PLAIN", "plaintext"] in asker.greeting
    assert asker.plain(1, ALICE, _password(instance), "secured") == ["OK", "1", f"user={ALICE}"]
    assert asker.plain(2, ALICE, "wrong", "secured") == ["FAIL", "2"]
    assert asker.plain(3, "nobody@example.test", "wrong", "secured") == ["FAIL", "3"]
    # In clear over the network: not even tried.
    assert asker.plain(4, ALICE, _password(instance)) == ["FAIL", "4"]
    instance.log.wait(rf"authentication failed: user=<{ALICE}>, method=PLAIN, scope=smtp, client=192\.0\.2\.1, reason=")
    assert not any(_password(instance) in line for line in instance.log.lines)


@pytest.mark.parametrize("final", [True, False])
def test_scram(instance: Instance, final: bool) -> None:
    asker = Asker(instance)
    client = ScramClient("SCRAM-SHA-256", ALICE, _password(instance), "abc")
    first = base64.b64encode(client.start()).decode()
    more = ["final-resp-ok"] if final else []
    answer = asker.ask("AUTH", "1", "SCRAM-SHA-256", "service=imap", *more, f"resp={first}")
    assert answer[0] == "CONT"
    proof = base64.b64encode(client.respond(base64.b64decode(answer[2]))).decode()
    answer = asker.ask("CONT", "1", proof)
    if not final:
        assert answer[0] == "CONT"
        client.respond(base64.b64decode(answer[2]))
        assert asker.ask("CONT", "1", "") == ["OK", "1", f"user={ALICE}"]
    else:
        assert answer[:3] == ["OK", "1", f"user={ALICE}"]
        client.finish(base64.b64decode(answer[3].removeprefix("resp=")))


def test_many_exchanges_at_once_on_one_connection(instance: Instance) -> None:
    asker = Asker(instance)
    for number in range(50):
        asker.socket.sendall(f"AUTH\t{number}\tLOGIN\tservice=imap\tsecured\n".encode())
    assert {tuple(asker.read()) for _ in range(50)} == {("CONT", str(n), "VXNlcm5hbWU6") for n in range(50)}
    assert asker.ask("CANCEL", "7\nCONT\t7\t") == ["FAIL", "7"]
    assert asker.ask("CONT", "8", base64.b64encode(ALICE.encode()).decode()) == ["CONT", "8", "UGFzc3dvcmQ6"]
    assert asker.ask("CONT", "8", base64.b64encode(_password(instance).encode()).decode())[0] == "OK"
    asker.socket.close()


@pytest.mark.parametrize("line", [b"AUTH\tx\tPLAIN\n", b"A" * 20_000, b"VERSION\t9\t9\n"])
def test_who_does_not_speak_the_protocol_is_hung_up_on(instance: Instance, line: bytes) -> None:
    asker = Asker(instance)
    asker.socket.sendall(line)
    assert asker.lines.read() == b""
    assert Asker(instance).plain(1, ALICE, _password(instance), "secured")[0] == "OK"


def test_a_change_of_the_command_counts_at_once(instance: Instance) -> None:
    asker = Asker(instance)
    done = instance.command("tubepost", "user", "passwd", "bob@example.test", "--stdin", input="changed\n")
    assert done.returncode == 0, done.stderr
    assert asker.plain(1, "bob@example.test", "changed", "secured")[0] == "OK"
    instance.command("tubepost", "user", "disable", "bob@example.test")
    assert asker.plain(2, "bob@example.test", "changed", "secured")[:3] == ["FAIL", "2", "user_disabled"]
    instance.command("tubepost", "user", "enable", "bob@example.test")
    assert asker.plain(3, "bob@example.test", "changed", "secured")[0] == "OK"
    assert instance.command("tubepost", "domain", "add", "new.test").returncode == 0
    made = instance.command("tubepost", "user", "add", "zoe@new.test", "--stdin", input="zoe's\n")
    assert made.returncode == 0, made.stderr
    assert asker.plain(4, "zoe@new.test", "zoe's", "secured")[0] == "OK"
    instance.command("tubepost", "alias", "add", "all@new.test", "zoe@new.test", ALICE)
    instance.send(["all@new.test"])
    instance.log.wait(r"to=<zoe@new\.test>, orig_to=<all@new\.test>.*status=sent")
    assert len(instance.messages("zoe", "new.test")) == 1


def test_people_may_look_up_and_nothing_else(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(instance.spool)

    async def go() -> None:
        bus = Bus()
        try:
            client = bus.client("public/auth", deadline=20)
            user = await client.call(auth.Lookup(name="Alice+lists@example.test", scope="imap"), reply=auth.User)
            assert (user.name, user.mailbox) == (ALICE, f"{instance.mail}/example.test/alice/")
            with pytest.raises(Refusal):
                await client.call(auth.Lookup(name="nobody@example.test", scope="imap"), reply=auth.User)
            with pytest.raises(Forbidden):
                begin = auth.Begin(
                    exchange=1, scope="imap", service="x", mechanism="PLAIN", initial=b"\0a\0b", client="", tls=True
                )
                await client.call(begin, reply=auth.Failure)
        finally:
            bus.close()

    asyncio.run(go())


def test_auth_has_no_network_and_only_it_reads_the_passwords(instance: Instance) -> None:
    (pid,) = instance.pids("auth")
    if os.geteuid() == 0:
        assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
    assert (instance.root / "auth" / "passwords.db").stat().st_mode & 0o077 == 0
