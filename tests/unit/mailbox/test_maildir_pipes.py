"""Nobody waits at what is no file: the owner of a Maildir puts into it what he likes."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tubepost.common.mailbox.maildir.account import MaildirAccount

from tests.fakes.maildir import MAIL, deliver, flags, read


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    """Ends the tests where one waits."""
    signal.alarm(10)
    yield
    signal.alarm(0)


def test_nobody_waits_for_a_pipe_in_the_place_of_a_file(account: MaildirAccount) -> None:
    folder = account.folder("INBOX")
    deliver(folder, "1700000001.M1P1.h:2,", "cur")
    deliver(folder, "1700000002.M1P1.h:2,", "cur")
    folder.sync()
    path = f"{folder.path}/cur/1700000001.M1P1.h:2,"
    os.unlink(path)
    os.mkfifo(path)
    folder.complete([1, 2])
    folder.index()
    with pytest.raises(OSError):
        os.close(folder.open(1))
    with pytest.raises(OSError):
        folder.read(1, 100, *next(iter(folder.rows(("place", "file", "info"), [1]))))
    with pytest.raises(OSError):
        os.close(folder.open_handle(path))
    assert read(folder, 2) == MAIL


@pytest.mark.parametrize("name", ["dovecot-keywords", "dovecot-uidlist", "subscriptions", "tubepost.uidvalidity"])
def test_nobody_waits_for_a_pipe_beside_the_mail(tmp_path: Path, name: str) -> None:
    root = tmp_path / "mail"
    (root / "cur").mkdir(parents=True)
    os.mkfifo(root / name)
    account = MaildirAccount(str(root))
    folder = account.folder("INBOX")
    deliver(folder, "1700000001.M1P1.h:2,a", "cur")
    folder.sync(force=True)
    assert list(flags(folder)) == [1]
    account.close()
