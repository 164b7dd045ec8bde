"""\\Recent (RFC 3501 2.3.2): each message has it in one session, whoever looks when."""

from pathlib import Path

import pytest

from tubepost.common.mailbox.maildir.account import MaildirAccount
from tubepost.common.mailbox.maildir.folder import Folder

from tests.fakes.imap import FakeImapd, play


def _claim(root: str) -> None:
    """As another process: a message comes, and a session there is told of it."""
    account = MaildirAccount(root)
    folder = account.folder("INBOX")
    draft = folder.draft()
    draft.write(b"Subject: theirs\r\n\r\n")
    draft.finish()
    folder.append([draft])
    folder.settle_new()
    account.close()


def test_what_others_claim_meanwhile_is_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Folder.settle_new
    meddling = [True]

    def settle_new(folder: Folder) -> tuple[int, int]:
        found = original(folder)
        if meddling[0]:
            meddling[0] = False
            _claim(folder.account.root)
        return found

    async def scene(server: FakeImapd) -> None:
        alice, other = await server.log_in("alice"), await server.log_in("alice")
        await other.append("inbox")
        monkeypatch.setattr(Folder, "settle_new", settle_new)
        told = await alice.ok("select inbox")
        assert "* 2 EXISTS" in told and "* 1 RECENT" in told
        assert await alice.ok("search recent") == ["* SEARCH 1"]
        # And with news.
        await other.append("inbox")
        meddling[0] = True
        told = await alice.ok("noop")
        await alice.ok("noop")
        await other.append("inbox")
        await alice.ok("noop")
        flags = await alice.ok("fetch 1:* flags")
        assert [line.split()[1] for line in flags if "\\Recent" in line] == ["1", "3", "5"]
        assert await alice.ok("search recent") == ["* SEARCH 1 3 5"]
        assert await alice.ok("search old") == ["* SEARCH 2 4"]
        assert await alice.ok("search new") == ["* SEARCH 1 3 5"]

    play(tmp_path, scene)
