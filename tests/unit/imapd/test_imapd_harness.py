"""The fake server itself, and the rules of states."""

from pathlib import Path

from tests.fakes.imap import FakeImapd, play


def test_append_and_fetch(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        assert (await alice.append("INBOX"))[-1].startswith("OK [APPENDUID ")
        assert "* 1 EXISTS" in await alice.ok("select inbox")
        assert await alice.ok("fetch 1 body.peek[text]") == ["* 1 FETCH (BODY[TEXT] {6}\r\nbody\r\n)"]

    play(tmp_path, scene)
