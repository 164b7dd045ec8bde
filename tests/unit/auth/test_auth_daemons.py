"""Backends that ask daemons, against fakes that speak the daemons' protocols on UNIX sockets."""

import asyncio
import base64
import shutil
import struct
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tubepost.services.auth.backends.authdaemond import Authdaemond
from tubepost.services.auth.backends.base import Backend, Context, Result, Unavailable, Verdict
from tubepost.services.auth.backends.dovecot import DovecotAuth
from tubepost.services.auth.backends.saslauthd import Saslauthd

CONTEXT = Context("imap", "imap", "192.0.2.1", "192.0.2.2", True)
Fake = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def path() -> Iterator[str]:
    # Short: a UNIX socket path has 107 bytes.
    folder = tempfile.mkdtemp(prefix="tp-", dir="/tmp")
    yield f"{folder}/socket"
    shutil.rmtree(folder)


def ask(path: str, fake: Fake, work: Callable[[], Awaitable[Any]]) -> Any:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await fake(reader, writer)
        finally:
            writer.close()

    async def go() -> Any:
        server = await asyncio.start_unix_server(serve, path)
        try:
            return await work()
        finally:
            server.close()

    return asyncio.run(go())


def verify(backend: Backend, path: str, fake: Fake, login: str = "alice@example.test") -> Result:
    result: Result = ask(path, fake, lambda: backend.verify(login, "secret", CONTEXT))
    return result


# -- saslauthd ---------------------------------------------------------------------------------------------------------


def saslauthd(answer: bytes, seen: list[bytes] | None = None) -> Fake:
    async def fake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(4):
            (size,) = struct.unpack("!H", await reader.readexactly(2))
            (seen if seen is not None else []).append(await reader.readexactly(size))
        writer.write(answer)

    return fake


@pytest.mark.parametrize(("word", "verdict"), [("OK", Verdict.RIGHT), ("OK x", Verdict.RIGHT), ("NO", Verdict.WRONG)])
def test_saslauthd(path: str, word: str, verdict: Verdict) -> None:
    seen: list[bytes] = []
    answer = struct.pack("!H", len(word)) + word.encode()
    assert verify(Saslauthd(path), path, saslauthd(answer, seen)).verdict is verdict
    assert seen == [b"alice", b"secret", b"imap", b"example.test"]


@pytest.mark.parametrize("answer", [b"", b"\0", b"\0\5OK", b"\xff\xff" + b"O" * 65535, b"\0\2??"])
def test_a_saslauthd_that_errs_is_no_wrong_password(path: str, answer: bytes) -> None:
    with pytest.raises(Unavailable, match="saslauthd"):
        verify(Saslauthd(path), path, saslauthd(answer))


def test_no_daemon_is_no_wrong_password(path: str) -> None:
    for backend in (Saslauthd(path), DovecotAuth(path), Authdaemond(path)):
        with pytest.raises(Unavailable, match="cannot be reached"):
            asyncio.run(backend.verify("alice", "secret", CONTEXT))


# -- Dovecot -----------------------------------------------------------------------------------------------------------

GREETING = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t2\nCOOKIE\tabc\nDONE\n"


def dovecot(answer: str, greeting: str = GREETING, seen: list[str] | None = None) -> Fake:
    async def fake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting.encode())
        while line := (await reader.readline()).decode().rstrip("\n"):
            if seen is not None:
                seen.append(line)
            if line.startswith("AUTH\t"):
                writer.write(f"{answer}\n".replace("ID", line.split("\t")[1]).encode())
                return

    return fake


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("OK\tID\tuser=alice@example.test", Verdict.RIGHT),
        ("FAIL\tID\tuser=alice@example.test", Verdict.WRONG),
        ("FAIL\tID\tuser_disabled", Verdict.DISABLED),
        ("FAIL\tID\tuser=x\tcode=pass_expired", Verdict.EXPIRED),
        ("CUID\t7\nOK\tID", Verdict.RIGHT),
    ],
)
def test_dovecot(path: str, answer: str, verdict: Verdict) -> None:
    seen: list[str] = []
    assert verify(DovecotAuth(path), path, dovecot(answer, seen=seen)).verdict is verdict
    words = seen[-1].split("\t")
    assert words[2:5] == ["PLAIN", "service=imap", "secured"]
    assert "rip=192.0.2.1" in words
    assert base64.b64decode(words[-1].removeprefix("resp=")) == b"\0alice@example.test\0secret"


@pytest.mark.parametrize(
    ("answer", "greeting"),
    [
        ("FAIL\tID\ttemp", GREETING),
        ("CONT\tID\t", GREETING),
        ("OK\tID", "VERSION\t2\t0\nDONE\n"),
        ("OK\tID", "MECH\tX\n" * 300),
        ("OK\tID", "x" * 100_000),
        ("OK\t999", GREETING),
    ],
)
def test_a_dovecot_that_errs_is_no_wrong_password(path: str, answer: str, greeting: str) -> None:
    with pytest.raises(Unavailable, match="dovecot"):
        verify(DovecotAuth(path), path, dovecot(answer, greeting))


# -- Courier -----------------------------------------------------------------------------------------------------------

COURIER = "USERNAME=alice\nUID=1000\nGID=1001\nHOME=/home/alice\nADDRESS=alice\nQUOTA=1000S,20C\n.\n"


def courier(auth: str, pre: str, seen: list[bytes]) -> Fake:
    async def fake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        seen.append(line)
        if line.startswith(b"AUTH "):
            seen.append(await reader.readexactly(int(line[5:])))
            writer.write(auth.encode())
        else:
            writer.write(pre.encode())

    return fake


def test_courier(path: str) -> None:
    seen: list[bytes] = []
    result = verify(Authdaemond(path), path, courier(COURIER, COURIER, seen), "alice")
    assert seen == [b"AUTH 24\n", b"imap\nlogin\nalice\nsecret\n"]
    assert result.verdict is Verdict.RIGHT
    account = result.account
    assert account is not None
    assert (account.name, account.mailbox, account.uid, account.gid) == ("alice", "/home/alice/Maildir/", 1000, 1001)
    assert (account.quota_bytes, account.quota_messages) == (1000, 20)


@pytest.mark.parametrize(("pre", "verdict"), [("FAIL\n", Verdict.UNKNOWN), (COURIER, Verdict.WRONG)])
def test_courier_tells_a_wrong_password_from_an_unknown_user(path: str, pre: str, verdict: Verdict) -> None:
    assert verify(Authdaemond(path), path, courier("FAIL\n", pre, [])).verdict is verdict


@pytest.mark.parametrize("answer", ["", "USER", "A=b\n" * 500])
def test_a_courier_that_errs_is_no_wrong_password(path: str, answer: str) -> None:
    with pytest.raises(Unavailable, match="authdaemond"):
        verify(Authdaemond(path), path, courier(answer, answer, []))


def test_nothing_of_a_client_becomes_a_line_of_the_protocol(path: str) -> None:
    backend = Authdaemond(path)
    result = asyncio.run(backend.verify("a\nlogin\nroot", "x", CONTEXT))
    assert result.verdict is Verdict.WRONG
    assert asyncio.run(backend.user("a b")) is None
    assert asyncio.run(DovecotAuth(path).verify("a\0b", "x", CONTEXT)).verdict is Verdict.WRONG


def test_names_of_sockets_are_whole_paths() -> None:
    from tubepost.services.auth.backends.sockets import socket_path

    with pytest.raises(ValueError, match="whole path"):
        socket_path("auth")
    assert Path(socket_path("/x"))
