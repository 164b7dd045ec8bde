"""What a session leaves behind: nothing that waits for Python's collector, which may come 1,000 sessions later."""

import asyncio
import gc
import weakref
from pathlib import Path

import pytest

from tests.fakes.imap import Client, FakeImapd, play

COMMANDS = [
    "fetch 1:* (FLAGS ENVELOPE BODYSTRUCTURE)",
    "fetch 1:* FLAGS",
    "fetch 1 (INTERNALDATE MODSEQ EMAILID PREVIEW RFC822.SIZE)",
    "fetch 1 BODY[]",
    "fetch 1 BODY[HEADER.FIELDS (SUBJECT)]",
    "fetch 1 BINARY[1]",
    "search text searched",
    'search fuzzy text "searched for"',
    "uid search return (min count) body x",
    'search or not subject a fuzzy subject "b c"',
    "sort (subject) utf-8 all",
    "thread references utf-8 all",
    "store 1 +flags (\\Deleted $Label)",
    "copy 1 INBOX",
    'list "" "*" return (status (messages))',
    "status INBOX (messages unseen)",
    "enable condstore qresync",
    "notify set (selected (MessageNew (FLAGS) MessageExpunge)) (personal (MessageNew MessageExpunge))",
    "expunge",
    "select nothing",
    "nonsense",
]


async def end(client: Client) -> weakref.ref[object]:
    left = weakref.ref[object](client.session)
    client.write(b"end LOGOUT\r\n")
    await client.lines("end")
    with pytest.raises(EOFError):
        await client.line()
    client.session.connection_lost(None)
    return left


@pytest.mark.parametrize("command", COMMANDS)
def test_a_session_is_gone_when_its_connection_is(tmp_path: Path, command: str) -> None:
    async def scene(server: FakeImapd) -> None:
        client = await server.log_in("alice")
        await client.append("INBOX", "Subject: a b\r\n\r\nwords to be searched for\r\n")
        await client.ok("select inbox")
        gc.collect()
        gc.disable()
        try:
            await client.do(command)
            left = await end(client)
            del client
            for _ in range(20):
                await asyncio.sleep(0)
            assert left() is None, [type(holder) for holder in gc.get_referrers(left())]
        finally:
            gc.enable()

    play(tmp_path, scene)


def test_commands_leave_nothing(tmp_path: Path) -> None:
    """Whatever a session does for hours: each command's own objects go with the command."""

    async def scene(server: FakeImapd) -> None:
        client = await server.log_in("alice")
        await client.append("INBOX", "Subject: a b\r\n\r\nwords to be searched for\r\n")
        await client.ok("select inbox")
        for command in COMMANDS:
            await client.do(command)
            if command.startswith("select"):
                await client.ok("select inbox")
        await client.append("INBOX", "Subject: c\r\n\r\nwords\r\n")
        gc.collect()
        gc.disable()
        try:
            found = {}
            for command in ("fetch 1:* (FLAGS ENVELOPE)", 'search fuzzy text "searched for"', "fetch 1 BODY[]"):
                await client.ok(command)
                found[command] = gc.collect()
            assert not any(found.values()), found
        finally:
            gc.enable()

    play(tmp_path, scene)
