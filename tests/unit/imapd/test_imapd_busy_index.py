"""Another process has the index of one account to itself: its sessions wait, and those of others do not."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.imap import Client, FakeImapd

_HOLD = (
    "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN IMMEDIATE');"
    "print('held', flush=True); sys.stdin.read(1); c.execute('ROLLBACK')"
)
# Seconds for which the index is locked at least.
_LONG = 0.15
_MESSAGE = "{14+}\r\nSubject: x\r\n\r\n"

# What is done before the index is locked, the command, and what must be in its answer.
CASES = [
    ("", "select inbox", "2 EXISTS"),
    ("select inbox", "store 1 +flags (\\Flagged)", "\\Flagged"),
    ("select inbox", "fetch 1 body[]", "\\Seen"),
    ("select inbox", "fetch 1:* flags", "FLAGS"),
    ("select inbox", "noop", "2 EXISTS"),
    ("select inbox", "copy 1 INBOX", "COPYUID"),
    ("select inbox", "move 1 Work", "COPYUID"),
    ("select inbox", f"replace 1 inbox {_MESSAGE}", "APPENDUID"),
    ("", f"append inbox {_MESSAGE}", "APPENDUID"),
    ("", "create New", "MAILBOXID"),
    ("", "delete Work", ""),
    ("", "rename Work Other", ""),
    ("", "subscribe Work", ""),
    ("", "unsubscribe INBOX", ""),
    ("", 'setmetadata "" (/private/comment "x")', ""),
    ("", 'setmetadata Work (/private/comment "x")', ""),
    ("", "setacl Work carol@example.test lrs", ""),
    ("", "deleteacl Work carol@example.test", ""),
    ("", 'genurlauth "imap://alice@example.test/Work/;UID=1;URLAUTH=anonymous" INTERNAL', "GENURLAUTH"),
    ("", "resetkey", ""),
    ("", "status Work (messages)", "MESSAGES"),
    ("", 'list "" *', "LIST"),
]


@contextlib.asynccontextmanager
async def _locked(directory: Path) -> AsyncIterator[None]:
    """By another process, until the end of the block."""
    arguments = ("-I", "-c", _HOLD, str(directory / "tubepost.db"))
    pipe = asyncio.subprocess.PIPE
    holder = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=pipe, stdout=pipe)
    assert holder.stdin is not None and holder.stdout is not None
    try:
        assert await holder.stdout.readline() == b"held\n"
        yield
    finally:
        holder.stdin.close()
        await holder.wait()


async def _furnish(server: FakeImapd) -> Client:
    alice = await server.log_in("alice")
    await alice.ok("create Work")
    await alice.ok("subscribe INBOX")
    await alice.ok(f"append inbox {_MESSAGE}")
    return alice


async def _others(bob: Client, until: asyncio.Future[list[str]]) -> list[float]:
    """How long each of another account's commands took meanwhile, seconds."""
    loop = asyncio.get_running_loop()
    took = []
    while not until.done():
        for command in ("noop", "select inbox"):
            before = loop.time()
            await bob.ok(command)
            took.append(loop.time() - before)
        await asyncio.sleep(0.002)
    return took


@pytest.mark.parametrize(("before", "command", "wanted"), CASES, ids=[case[1].partition("{")[0] for case in CASES])
def test_others_are_served_while_one_account_waits(tmp_path: Path, before: str, command: str, wanted: str) -> None:
    async def go() -> None:
        async with FakeImapd(str(tmp_path)) as server:
            alice = await _furnish(server)
            bob = await server.log_in("bob")
            await bob.ok("select inbox")
            if before:
                await alice.ok(before)
            # The list of folders is to be made anew, and there is new mail that nobody was told of.
            (tmp_path / "alice/.Foreign/cur").mkdir(parents=True)
            (tmp_path / "alice/new/1700000000.M1P1.host").write_bytes(b"Subject: y\n\ny\n")
            async with _locked(tmp_path / "alice"):
                said = asyncio.ensure_future(alice.do(command))
                watched = asyncio.ensure_future(_others(bob, said))
                await asyncio.sleep(_LONG)
            answer = await said
            took = sorted(await watched)
            assert answer[-1].startswith("OK"), answer
            assert wanted in "\n".join(answer)
            # A machine that is busy itself may stop for a moment.
            assert len(took) > 4 and took[len(took) // 2] < 0.1 and took[-1] < 2.0, took

    asyncio.run(go())


def test_many_waiting_accounts_leave_threads_to_others(tmp_path: Path) -> None:
    """There are two threads here, and two accounts that cannot go on."""

    async def go() -> None:
        async with FakeImapd(str(tmp_path)) as server, contextlib.AsyncExitStack() as stack:
            waiting = []
            for name in ("alice", "carol"):
                client = await server.log_in(name)
                await client.ok("create Work")
                await stack.enter_async_context(_locked(tmp_path / name))
                waiting.append(asyncio.ensure_future(client.do("subscribe Work")))
            bob = await server.log_in("bob")
            (tmp_path / "bob/new/1700000000.M1P1.host").write_bytes(b"Subject: y\n\ny\n")
            async with asyncio.timeout(2):
                assert "* 1 EXISTS" in await bob.ok("select inbox")
            assert not any(task.done() for task in waiting)
            await stack.aclose()
            for task in waiting:
                assert (await task)[-1].startswith("OK")

    asyncio.run(go())


def test_an_index_that_stays_locked_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tubepost.common.skeleton.mailboxes._BUSY", 0.1)

    async def go() -> None:
        async with FakeImapd(str(tmp_path)) as server:
            alice = await _furnish(server)
            async with _locked(tmp_path / "alice"):
                assert (await alice.do("subscribe Work"))[-1].startswith("NO [INUSE]")
            await alice.ok("subscribe Work")

    asyncio.run(go())
