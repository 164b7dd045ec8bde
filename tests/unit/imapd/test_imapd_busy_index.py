"""Another process has the index to itself: a STORE waits for it in a thread, and the loop serves others meanwhile."""

import asyncio
import sqlite3
from pathlib import Path

from tests.fakes.imap import FakeImapd


def test_a_store_does_not_stand_the_loop_still(tmp_path: Path) -> None:
    async def go() -> None:
        async with FakeImapd(str(tmp_path)) as server:
            alice = await server.log_in("alice")
            await alice.do("append inbox {14+}\r\nSubject: x\r\n\r\n")
            await alice.do("select inbox")
            assert server.mailboxes is not None
            (database,) = tmp_path.rglob("alice/tubepost.db")
            blocker = sqlite3.connect(database, isolation_level=None)
            blocker.execute("BEGIN IMMEDIATE")
            loop = asyncio.get_running_loop()
            longest = 0.0

            async def beat() -> None:
                nonlocal longest
                while True:
                    before = loop.time()
                    await asyncio.sleep(0.001)
                    longest = max(longest, loop.time() - before)

            heart = loop.create_task(beat())
            loop.call_later(0.3, blocker.execute, "ROLLBACK")
            said = await alice.do("store 1 +flags (\\Flagged)")
            heart.cancel()
            assert said[-1].endswith("OK STORE completed") and any("\\Flagged" in line for line in said)
            assert longest < 0.2
            blocker.close()

    asyncio.run(go())
