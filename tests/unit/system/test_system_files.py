"""common/system: queue ids, the register of children, atomic files, group commit, log lines."""

import asyncio
import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.system import atomic, commit, ids, log
from tubepost.common.system.register import SIZE, Register, RegisterFull

# -- ids -------------------------------------------------------------------------------------------------------------


def test_ids_are_unique_over_threads() -> None:
    found: list[list[str]] = [[] for _ in range(8)]

    def make(kept: list[str]) -> None:
        kept += [ids.new_queue_id() for _ in range(3000)]

    threads = [threading.Thread(target=make, args=(kept,)) for kept in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = [one for kept in found for one in kept]
    assert len(set(every)) == len(every)
    assert all(ids.is_queue_id(one) for one in every)


def test_ids_of_forks_differ_though_they_fork_at_the_same_instant() -> None:
    read, write = os.pipe()
    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            os.write(write, " ".join(ids.new_queue_id() for _ in range(100)).encode() + b" ")
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    os.close(write)
    with os.fdopen(read) as file:
        every = file.read().split()
    assert len(every) == len(set(every)) == 400


def test_ids_grow_though_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ids.new_queue_id()
    monkeypatch.setattr("time.time_ns", lambda: 0)
    after = ids.new_queue_id()
    assert before[:10] < after[:10] or ids.microsecond(after) == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "../../etc/passwd",
        "4dKq0t2WcKz1Jx/..",
        "4dKq0t2WcKz1Jx\n",
        "4dKq0t2WcKz1Jx\0",
        "4dKq0t2WcKz",
        "4dKq0t2WcK1Jx",
        "4dKq0t2WcKz" + "1" * 9,
        "4dKq0t2WcKz1Az",
        "4dKq0t2WcKz1é",
        "A" * 14,
        "ALL",
    ],
)
def test_what_is_no_queue_id(text: str) -> None:
    assert not ids.is_queue_id(text)


@given(st.text(max_size=20))
def test_a_queue_id_is_a_safe_file_name(text: str) -> None:
    if ids.is_queue_id(text):
        assert text.isascii() and text.isalnum()


def test_the_microsecond_is_in_the_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 9_000_000_000_123_456_789)
    monkeypatch.setattr(ids, "_last_microsecond", 0)
    assert ids.microsecond(ids.new_queue_id()) == 123_456


# -- register --------------------------------------------------------------------------------------------------------

UID = 925


@pytest.fixture
def register(tmp_path: Path) -> Iterator[Register]:
    made = Register(str(tmp_path / "register"), write=True)
    yield made
    made.close()


def test_a_full_disk_is_met_when_the_register_is_made_and_never_later(register: Register, tmp_path: Path) -> None:
    """A store into a hole of a mapped file, when the disk is full, is SIGBUS: no program could start any more."""
    with open(tmp_path / "register", "rb") as file:
        assert os.lseek(file.fileno(), 0, os.SEEK_HOLE) == SIZE


def test_a_register_that_a_full_disk_cut_short_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "register"
    path.write_bytes(b"\1" * (SIZE // 2))
    made = Register(str(path), write=True)
    assert made.pids() == []
    made.add(7, "smtpd", "smtp")
    made.close()
    again = Register(str(path), write=True)
    assert again.pids() == [7], "what is whole stays"
    again.close()


def test_children_are_found_by_pid(register: Register, tmp_path: Path) -> None:
    for pid, program, service in ((100, "smtpd", "127.0.0.1:2525"), (101, "cleanup", "cleanup")):
        register.add(pid, program, service)
        register.confined(pid, UID)
    reader = Register(str(tmp_path / "register"))
    assert reader.find(100, UID) == ("smtpd", "127.0.0.1:2525")
    assert reader.find(101, UID) == ("cleanup", "cleanup")
    assert reader.find(102, UID) is None
    register.remove(100)
    assert reader.find(100, UID) is None and reader.pids() == [101]
    with pytest.raises(TypeError):
        reader._map[0:1] = b"x"
    reader.close()


def test_a_process_is_a_child_only_with_the_uid_that_it_is_confined_to(register: Register) -> None:
    register.add(100, "smtpd", "smtp")
    assert register.find(100, 0) is None and register.find(100, UID) is None, "not confined yet"
    register.confined(100, UID)
    register.confined(101, UID)
    assert register.find(100, UID) == ("smtpd", "smtp")
    # Somebody else's connection from before this process had the number.
    assert register.find(100, UID + 1) is None and register.find(100, 0) is None
    assert register.find(101, UID) is None, "never added"
    register.add(100, "cleanup", "cleanup")
    assert register.find(100, UID) is None, "a new process of this number begins anew"
    register.confined(100, 0xFFFF_FFFE)
    assert register.find(100, -2) == register.find(100, 0xFFFF_FFFE) == ("cleanup", "cleanup"), "C's signed view of it"


def test_pids_that_share_a_record_are_told_apart(register: Register) -> None:
    count = SIZE // 64
    pids = [5, 5 + count, 5 + 2 * count, 6]
    for pid in pids:
        register.add(pid, f"p{pid}", "s")
        register.confined(pid, UID)
    assert [register.find(pid, UID) for pid in pids] == [(f"p{pid}", "s") for pid in pids]
    register.remove(5)
    assert register.find(5, UID) is None
    assert register.find(5 + 2 * count, UID) == (f"p{5 + 2 * count}", "s"), "the search goes on over what was freed"
    register.add(5, "again", "s")
    register.confined(5, UID)
    assert register.find(5, UID) == ("again", "s")


def test_a_number_that_is_used_again_has_one_record(register: Register) -> None:
    count = SIZE // 64
    register.add(5, "other", "s")
    register.add(5 + count, "smtpd", "s")
    register.remove(5)
    register.add(5 + count, "local", "s")
    register.remove(5 + count)
    assert register.find(5 + count, UID) is None and register.pids() == []


def test_the_register_takes_so_many_and_says_so(register: Register) -> None:
    count = SIZE // 64
    for pid in range(1, count + 1):
        register.add(pid, "p", "s")
    with pytest.raises(RegisterFull):
        register.add(count + 1, "p", "s")
    register.remove(7)
    register.add(count + 1, "p", "s")
    register.confined(count + 1, UID)
    assert register.find(count + 1, UID) == ("p", "s") and register.find(7, UID) is None


def test_many_births_leave_no_scars(register: Register) -> None:
    """Freed records must not make every search read all of it."""
    for pid in range(1, 9000):
        register.add(pid, "p", "s")
        register.remove(pid)
    assert sum(register._pid_at(slot) == -1 for slot in range(SIZE // 64)) == 0


def test_children_that_begin_at_once_do_not_share_a_record(register: Register) -> None:
    count = SIZE // 64
    children = []
    for number in range(8):
        pid = os.fork()
        if pid == 0:
            for turn in range(50):
                register.add(1 + (number * 50 + turn + 1) * count, "p", "s")
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    assert len(register.pids()) == 400


def test_long_names_are_cut(register: Register) -> None:
    register.add(9, "x" * 40, "[2001:db8:0000:0000:0000:0000:0000:0001]:2525")
    register.confined(9, UID)
    found = register.find(9, UID)
    assert found is not None and found[0] == "x" * 24 and found[1].endswith(":2525")


# -- atomic ----------------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    atomic.write_file(str(path), b"new", 0o640)
    assert path.read_bytes() == b"new" and path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("broken", ["write", "fsync", "rename"])
def test_the_old_file_stays_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(OSError, match="No space left"):
        atomic.write_file(str(path), b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old" and [one.name for one in tmp_path.iterdir()] == ["file"]


def test_short_writes_are_continued(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data[:3])))
    atomic.write_file(str(tmp_path / "file"), b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


# -- group commit ----------------------------------------------------------------------------------------------------


def writing(path: Path) -> Callable[[], int]:
    def write() -> int:
        fd = os.open(path, os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"x")
        return fd

    return write


def no_space() -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def no_publish() -> None:
    raise FileExistsError(errno.EEXIST, "File exists")


def closed(path: Path) -> Callable[[], int]:
    def write() -> int:
        fd = writing(path)()
        os.close(fd)
        return fd

    return write


@pytest.mark.parametrize("others", [0, 1, 200])
def test_an_error_stays_with_its_job(tmp_path: Path, others: int) -> None:
    """``others``: none, one, more than a batch."""

    async def play() -> list[BaseException | None]:
        group = commit.GroupCommit()
        good = [group.run(writing(tmp_path / f"good{number}")) for number in range(others)]
        bad = [
            group.run(no_space),
            group.run(writing(tmp_path / "unpublished"), no_publish),
            group.run(lambda: 10_000),
        ]
        try:
            async with asyncio.timeout(10):
                return await asyncio.gather(*bad, *good, return_exceptions=True)
        finally:
            group.close()

    full, unpublished, lost, *good = asyncio.run(play())
    assert isinstance(full, OSError) and full.errno == errno.ENOSPC
    assert isinstance(unpublished, FileExistsError)
    assert isinstance(lost, OSError) and lost.errno == errno.EBADF, "a descriptor that is none"
    assert good == [None] * others


@pytest.mark.parametrize("fast", [True, False])
def test_what_is_published_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    monkeypatch.setattr(commit, "_may_syncfs", fast and commit._may_syncfs)

    async def play() -> None:
        group = commit.GroupCommit(threads=2)
        await asyncio.gather(
            *(
                group.run(
                    writing(tmp_path / f"{number}.tmp"),
                    lambda number=number: os.rename(tmp_path / f"{number}.tmp", tmp_path / f"{number}"),  # type: ignore[misc]
                )
                for number in range(150)
            )
        )
        group.close()

    before = len(os.listdir("/proc/self/fd"))
    asyncio.run(play())
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == list(range(150))
    assert len(os.listdir("/proc/self/fd")) <= before, "descriptors are closed"


def test_nothing_has_a_name_before_its_content_is_written_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen in a power cut: mail of zeros in a mailbox, where write-back was only started before the rename."""
    happened: list[str] = []
    true = commit.write_out

    def write_out(fd: int) -> None:
        true(fd)
        happened.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
        if happened[-1] == "bad":
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(commit, "write_out", write_out)

    async def play() -> list[BaseException | None]:
        group = commit.GroupCommit()
        names = ("one", "bad", "two")
        jobs = [group.run(writing(tmp_path / name), lambda name=name: happened.append(f"{name}!")) for name in names]  # type: ignore[misc]
        found = await asyncio.gather(*jobs, return_exceptions=True)
        group.close()
        return found

    first, second, third = asyncio.run(play())
    assert happened == ["one", "bad", "two", "one!", "two!"]
    assert first is None and third is None
    assert isinstance(second, OSError) and second.errno == errno.EIO


def test_a_caller_that_gave_up_does_not_hurt_the_others(tmp_path: Path) -> None:
    async def play() -> None:
        group = commit.GroupCommit()
        first = asyncio.create_task(group.run(writing(tmp_path / "a")))
        second = asyncio.create_task(group.run(writing(tmp_path / "b")))
        await asyncio.sleep(0)
        first.cancel()
        await second
        assert (await asyncio.gather(first, return_exceptions=True))[0].__class__ is asyncio.CancelledError
        await group.run(writing(tmp_path / "c"))
        group.close()

    asyncio.run(play())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


# -- log -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[socket.socket]:
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        listener.setblocking(False)
        log.setup("postfix/test", path=path)
        yield listener
    log.reset_after_fork()
    log.setup("postfix")


def received(reader: socket.socket) -> list[str]:
    datagrams = []
    while True:
        try:
            datagrams.append(reader.recv(1 << 20).decode())
        except BlockingIOError:
            return datagrams


@given(st.text(max_size=200))
def test_a_line_is_one_line_whatever_a_peer_says(text: str) -> None:
    line = log.clean(text)
    assert len(line.splitlines()) <= 1
    assert not any(char in line for char in "\x1b\x9b\x7f\u202e\u2066\0")
    line.encode()


def test_long_lines_are_cut() -> None:
    assert len(log.clean("x" * 100_000)) < 4100


def test_no_line_is_forged(reader: socket.socket) -> None:
    log.info("helo=<x>\nNov  4 18:10:19 host postfix/smtpd[1]: forged\r\u2028also")
    (datagram,) = received(reader)
    assert datagram.count("\n") == 1 and datagram.endswith("forged??also\n")
    assert "postfix/test[" in datagram


def test_lines_of_one_loop_turn_go_in_one_datagram(reader: socket.socket) -> None:
    calls: list[Callable[[], None]] = []
    log.use_loop(calls.append)
    for number in range(50):
        log.info(f"line {number}")
    assert received(reader) == [] and len(calls) == 1
    calls[0]()
    (datagram,) = received(reader)
    assert datagram.count("\n") == 50


def test_a_log_program_that_does_not_read_costs_no_time_and_bounded_memory(reader: socket.socket) -> None:
    log.info("before the loop")
    later: list[float] = []
    log.use_loop(lambda _: None, lambda seconds, _: later.append(seconds))
    assert log._state.sock is not None
    for number in range(25_000):
        log.info(f"line {number} " + "x" * 300)
        if number % 1000 == 0:
            log.flush()
            assert log._state.sock.gettimeout() == 0.0, "a loop never waits for the log program"
    assert later and len(log._state.lines) <= log._BACKLOG_LINES + 1
    lines = []
    for _ in range(400):
        got = received(reader)
        lines += [line for datagram in got for line in datagram.splitlines()]
        assert all(len(datagram) < 65_536 for datagram in got)
        if not log._state.lines:
            break
        log.flush()
    assert any("log lines were lost" in line for line in lines)
    assert "line 0 " in lines[1]


def test_without_a_log_program_lines_go_to_standard_error(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    log.reset_after_fork()
    log.setup("postfix/test", path="/nonexistent/log")
    log.warning("nobody listens")
    log.setup("postfix")
    assert b"warning: nobody listens\n" in capfdbinary.readouterr().err


@pytest.mark.parametrize("has_one", [False, True])
def test_without_a_thread_nobody_waits_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_one: bool) -> None:
    """``has_one``: a thread was there before the system had no more."""

    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def play() -> list[BaseException | None]:
        group = commit.GroupCommit(threads=4)
        try:
            async with asyncio.timeout(10):
                first = [group.run(writing(tmp_path / "first"))]
                if has_one:
                    await first.pop()
                with monkeypatch.context() as patch:
                    patch.setattr(threading.Thread, "start", full)
                    jobs = [*first, *(group.run(writing(tmp_path / f"{number}")) for number in range(200))]
                    refused = await asyncio.gather(*jobs, return_exceptions=True)
                await group.run(writing(tmp_path / "later"))
                return refused
        finally:
            group.close()

    answers = asyncio.run(play())
    assert (tmp_path / "later").exists()
    if has_one:
        assert answers == [None] * 200
    else:
        assert all(isinstance(answer, OSError) for answer in answers)
