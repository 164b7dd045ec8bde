"""mbox: nothing is lost, nothing is mixed, a failure leaves the file as it was."""

import asyncio
import errno
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tubepost.common.mailbox import Content, DeliveryError
from tubepost.common.mailbox.mbox import Busy, Locking, MboxStore, Rules, code_for, from_line

QUICK = Locking(attempts=2, delay=0.01)


@pytest.fixture
def content() -> Iterator[Content]:
    with tempfile.TemporaryFile() as file:
        data = b"Subject: x\n\nFrom\nFrom me\n"
        file.write(data)
        file.flush()
        yield Content(file.fileno(), 0, len(data), b"From a  date\n")


ONE = "From a  date\nSubject: x\n\nFrom\n>From me\n\n"


def _deliver(path: Path, content: Content, rules: Rules | None = None, locking: Locking = QUICK) -> int:
    store = MboxStore(str(path.parent), locking, rules or Rules())
    try:
        return asyncio.run(store.deliver(path.name, content))
    finally:
        store.close()


def test_messages_follow_each_other(tmp_path: Path, content: Content) -> None:
    box = tmp_path / "box"
    assert _deliver(box, content) == 0
    assert _deliver(box, content) == len(ONE)
    assert box.read_text() == ONE * 2
    assert box.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["box"]


def test_many_at_once_are_all_there_and_whole(tmp_path: Path, content: Content) -> None:
    async def flood() -> None:
        stores = [MboxStore(str(tmp_path), Locking(attempts=500, delay=0.002), Rules()) for _ in range(3)]
        await asyncio.gather(*(store.deliver("box", content) for store in stores for _ in range(15)))
        for store in stores:
            store.close()

    asyncio.run(flood())
    assert (tmp_path / "box").read_text() == ONE * 45


def test_over_the_limit_the_file_is_as_it_was(tmp_path: Path, content: Content) -> None:
    box = tmp_path / "box"
    box.write_text("old\n")
    with pytest.raises(DeliveryError, match="File too large") as caught:
        _deliver(box, content, Rules(size_limit=30))
    assert caught.value.dsn == "5.2.2"
    assert box.read_text() == "old\n"
    assert os.listdir(tmp_path) == ["box"]


def test_a_message_that_is_cut_short_leaves_nothing(tmp_path: Path, content: Content) -> None:
    box = tmp_path / "box"
    box.write_text("old\n")
    with pytest.raises(DeliveryError) as caught:
        _deliver(box, Content(content.fd, 0, 10_000, b"From a\n"))
    assert caught.value.dsn.startswith("4.")
    assert box.read_text() == "old\n"


def test_a_lock_file_of_another_is_respected_until_it_is_stale(tmp_path: Path, content: Content) -> None:
    box, lock = tmp_path / "box", tmp_path / "box.lock"
    lock.write_text("")
    with pytest.raises(Busy) as caught:
        _deliver(box, content)
    assert caught.value.dsn == "4.2.0"
    assert lock.exists()
    assert not box.exists()
    assert _deliver(box, content, locking=Locking(stale=-1)) == 0
    assert not lock.exists()


@pytest.mark.parametrize("style", ["fcntl", "flock"])
def test_a_kernel_lock_of_another_program_is_respected(tmp_path: Path, content: Content, style: str) -> None:
    box = tmp_path / "box"
    box.write_text("old\n")
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        with box.open("r+") as held:
            (fcntl.lockf if style == "fcntl" else fcntl.flock)(held, fcntl.LOCK_EX)
            os.write(ready[1], b"x")
            os.read(go[0], 1)
            os._exit(0)
    os.read(ready[0], 1)
    try:
        with pytest.raises(Busy):
            _deliver(box, content, locking=Locking(styles=(style,), attempts=1))
        assert box.read_text() == "old\n"
    finally:
        os.write(go[1], b"x")
        os.waitpid(child, 0)
    _deliver(box, content, locking=Locking(styles=(style,), attempts=1))
    assert box.read_text() == "old\n" + ONE
    for fd in (*ready, *go):
        os.close(fd)


def test_links_of_strangers_and_second_names_are_not_written_to(tmp_path: Path, content: Content) -> None:
    target = tmp_path / "target"
    target.write_text("")
    os.chmod(tmp_path, 0o777)
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(DeliveryError):
        _deliver(tmp_path / "link", content)
    os.link(target, tmp_path / "second")
    with pytest.raises(DeliveryError):
        _deliver(tmp_path / "second", content)
    assert target.read_text() == ""


def test_wrong_owner_executable_directory(tmp_path: Path, content: Content) -> None:
    box = tmp_path / "box"
    box.write_text("")
    with pytest.raises(DeliveryError, match="not owned by recipient") as caught:
        _deliver(box, content, Rules(owner=os.geteuid() + 1))
    assert caught.value.dsn == "4.2.0"
    os.chmod(box, 0o700)
    with pytest.raises(DeliveryError, match="executable") as caught:
        _deliver(box, content, Rules(executable=False))
    assert caught.value.dsn == "5.7.1"
    with pytest.raises(DeliveryError) as caught:
        _deliver(tmp_path, content, Rules(otherwise="5.2.0"))
    assert caught.value.dsn == "5.2.0"
    assert box.read_text() == ""


def test_what_is_no_regular_file(tmp_path: Path, content: Content) -> None:
    null = Path("/dev/null")
    with pytest.raises(DeliveryError, match="not a regular file"):
        _deliver(null, content)
    assert _deliver(null, content, Rules(special=True)) == 0
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    begun = time.monotonic()
    with pytest.raises(DeliveryError):  # nobody reads: it does not wait
        _deliver(fifo, content, Rules(special=True))
    assert time.monotonic() - begun < 5


def test_a_directory_without_room_for_a_lock_file(tmp_path: Path, content: Content) -> None:
    box = tmp_path / ("n" * 253)  # with .lock it is too long for the file system
    with pytest.raises(DeliveryError):
        _deliver(box, content)
    assert _deliver(box, content, locking=Locking(dotlock_optional=True)) == 0


def test_from_line_is_asctime() -> None:
    line = from_line("a@b", 0)
    assert line.startswith("From a@b  ")
    assert line.endswith("\n")
    assert time.strptime(line[10:-1], "%a %b %d %H:%M:%S %Y").tm_year in (1969, 1970)
    assert from_line("", 0).startswith("From MAILER-DAEMON  ")


class _Meddled(Content):
    """While the message is written another program does something."""

    def pread(self, size: int, position: int) -> bytes:
        _meddle()
        return Content.pread(self, size, position)


def _meddle() -> None:
    """Replaced by the tests."""


def test_a_lock_file_that_another_took_away_does_not_undo_the_delivery(
    tmp_path: Path, content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A program that thought it stale: the message is in the mailbox all the same, and must not bounce.
    monkeypatch.setattr(f"{__name__}._meddle", lambda: (tmp_path / "box.lock").unlink(missing_ok=True))
    meddled = _Meddled(content.fd, content.offset, content.length, content.head)
    assert _deliver(tmp_path / "box", meddled) == 0
    assert (tmp_path / "box").read_text() == ONE


def test_a_file_that_another_program_makes_first_is_taken(
    tmp_path: Path, content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = tmp_path / "box"
    real = os.open

    def late(path: str, flags: int, mode: int = 0o777) -> int:
        if path == str(box) and flags & os.O_EXCL and not box.exists():
            box.write_bytes(b"From b  date\n\n")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", late)
    _deliver(box, content, locking=Locking(styles=("fcntl",), attempts=1))
    assert box.read_text() == f"From b  date\n\n{ONE}"


def test_a_fifo_that_nobody_reads_is_tried_again(tmp_path: Path, content: Content) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(DeliveryError) as caught:
        _deliver(tmp_path / "fifo", content, Rules(special=True, otherwise="5.2.0"))
    assert caught.value.dsn == "4.2.0"


@pytest.mark.parametrize("number", [errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOLCK])
def test_no_mail_is_returned_for_trouble_of_this_host(number: int) -> None:
    """A file system that goes read-only since its disk fails is mended, and the mail delivered."""
    assert code_for(OSError(number, os.strerror(number)), "5.2.0") == "4.3.0"


def test_a_lock_file_that_cannot_be_removed_undoes_no_delivery(
    tmp_path: Path, content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def refuse(path: str) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    monkeypatch.setattr("tubepost.common.system.log.warning", said.append)
    with monkeypatch.context() as patch:
        patch.setattr("tubepost.common.mailbox.mbox.os.unlink", refuse)
        _deliver(tmp_path / "box", content)
    assert (tmp_path / "box").read_text() == ONE
    assert "Read-only file system" in said[0]
    # It is ours: the next delivery need not wait until it is stale.
    _deliver(tmp_path / "box", content)
    assert (tmp_path / "box").read_text() == ONE * 2
    # That of another program is another's, also under this name.
    (tmp_path / "box.lock").touch()
    with pytest.raises(Busy):
        _deliver(tmp_path / "box", content)
