"""The indexer's work on real Maildirs, without a system around it."""

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tubepost.common.wire import notify
from tubepost.common.mailbox.maildir import fulltext
from tubepost.common.mailbox.maildir.account import MaildirAccount

from tubepost.services.indexer.schedule import Task
from tubepost.services.indexer.session import Indexer


class _Hints:
    """Tells the indexer what changed, as notify does."""

    def __init__(self, indexer: Indexer) -> None:
        self._tell = cast("Callable[[Any], None]", indexer.handlers[notify.Changed])

    def tell(self, hint: notify.Changed) -> None:
        self._tell(SimpleNamespace(message=hint))


def play(scene: Callable[[Indexer, _Hints], Coroutine[Any, Any, None]], *, full_text: bool = True) -> None:
    async def run() -> None:
        config = SimpleNamespace(indexer_nice=0, indexer_full_text=full_text)
        process = SimpleNamespace(config=config, loop=asyncio.get_running_loop())
        indexer = Indexer(cast(Any, process))
        await indexer.open()
        try:
            await scene(indexer, _Hints(indexer))
        finally:
            await indexer.close()

    asyncio.run(run())


def deliver(root: Path, number: int, folder: str = "") -> None:
    for part in ("new", "cur", "tmp"):
        (root / folder / part).mkdir(parents=True, exist_ok=True)
    (root / folder / "new" / f"{number}.M{number}.host").write_bytes(b"Subject: x\n\nsome words\n")


def state(root: Path) -> list[tuple[int, int]]:
    database = sqlite3.connect(root / "tubepost.db")
    try:
        return database.execute("SELECT version>0, indexed FROM content ORDER BY id").fetchall()
    finally:
        database.close()


def test_a_hint_leads_to_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tubepost.services.indexer.session._QUIET", 0.0)
    root = tmp_path / "box"
    deliver(root, 1)

    async def scene(indexer: Indexer, source: _Hints) -> None:
        indexed = asyncio.Event()
        monkeypatch.setattr("tubepost.common.system.log.info", lambda _: indexed.set())
        source.tell(notify.Changed(mailbox=f"{root}/", folder="INBOX"))
        source.tell(notify.Changed(mailbox=str(tmp_path / "none"), folder="INBOX"))
        async with asyncio.timeout(20):
            await indexed.wait()

    play(scene)
    assert state(root) == [(1, 1)]
    assert not (tmp_path / "none").exists()


def test_other_folders_that_were_left_behind_are_done_too(tmp_path: Path) -> None:
    root = tmp_path / "box"
    deliver(root, 1)
    deliver(root, 2, ".Work")
    account = MaildirAccount(str(root))
    account.folder("Work").sync()

    async def scene(indexer: Indexer, _: _Hints) -> None:
        await indexer._serve(Task(str(root), ("INBOX", "No such folder")), 0)

    play(scene)
    assert state(root) == [(1, 1), (1, 1)]


def test_without_texts(tmp_path: Path) -> None:
    root = tmp_path / "box"
    deliver(root, 1)

    async def scene(indexer: Indexer, _: _Hints) -> None:
        await indexer._serve(Task(str(root), ("INBOX",)), 0)

    play(scene, full_text=False)
    assert state(root) == [(1, 0)]


def test_an_index_of_mail_that_is_gone_is_built_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "box"
    deliver(root, 1)
    wasted = iter([True, False])
    monkeypatch.setattr(fulltext, "wasteful", lambda _: next(wasted))
    resets: list[object] = []
    real = fulltext.reset

    def counted(account: MaildirAccount) -> None:
        resets.append(account)
        real(account)

    monkeypatch.setattr(fulltext, "reset", counted)

    async def scene(indexer: Indexer, _: _Hints) -> None:
        for _number in range(2):
            await indexer._serve(Task(str(root), ("INBOX",)), 0)

    play(scene)
    assert len(resets) == 1
    assert state(root) == [(1, 1)]


@pytest.mark.parametrize(
    ("error", "tries", "again"),
    [
        (sqlite3.OperationalError("database is locked"), 0, 1),
        (sqlite3.OperationalError("database is locked"), 8, 0),
        (OSError(28, "No space left on device"), 3, 1),
        (PermissionError(13, "Permission denied"), 0, 0),
        (FileNotFoundError(2, "gone"), 0, 0),
        (ValueError("a bug"), 0, 0),
    ],
)
def test_what_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, tries: int, again: int) -> None:
    root = tmp_path / "box"
    deliver(root, 1)

    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr("tubepost.services.indexer.session._sync", broken)

    async def scene(indexer: Indexer, _: _Hints) -> None:
        await indexer._serve(Task(str(root), ("INBOX",)), tries)
        assert len(indexer._schedule) == again

    play(scene)
