"""Landlock, seccomp, privileges, identities, each in a forked child: the forbidden fails, what is needed works."""

import contextlib
import ctypes
import errno
import os
import stat
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from tubepost.common.system import identity, landlock, privileges, seccomp

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="acting as another user takes root")
needs_landlock = pytest.mark.skipif(landlock.version() == 0, reason="this kernel has no Landlock")
NOBODY = 65534


def confined(work: Callable[[], None]) -> None:
    """Run in a child, for good; what it raises is the test's failure."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            os.write(write, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        text = file.read().decode()
    _, status = os.waitpid(pid, 0)
    assert status == 0, text or f"wait status {status}"


def refused(number: int, work: Callable[[], object]) -> None:
    try:
        work()
    except OSError as error:
        assert error.errno == number, error
    else:
        raise AssertionError("that was allowed")


@needs_landlock
def test_files_outside_the_rules_are_out_of_reach(tmp_path: Path) -> None:
    for name in ("reads", "writes", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")

    def work() -> None:
        privileges.no_new_privileges()
        landlock.restrict(read=[str(tmp_path / "reads"), "/nonexistent"], write=[str(tmp_path / "writes")])
        assert (tmp_path / "reads/file").read_text() == "x"
        (tmp_path / "writes/new").write_text("y")
        os.rename(tmp_path / "writes/new", tmp_path / "writes/file")
        assert (tmp_path / "writes/file").read_text() == "y"
        refused(errno.EACCES, lambda: (tmp_path / "reads/file").write_text("y"))
        refused(errno.EACCES, lambda: (tmp_path / "reads/new").write_text("y"))
        refused(errno.EACCES, lambda: os.unlink(tmp_path / "reads/file"))
        refused(errno.EACCES, lambda: (tmp_path / "other/file").read_text())
        refused(errno.EACCES, lambda: os.listdir(tmp_path / "other"))
        refused(errno.EACCES, lambda: (tmp_path / "other/new").write_text("y"))
        refused(errno.EACCES, lambda: os.symlink("/etc/passwd", tmp_path / "other/link"))
        os.symlink(tmp_path / "other/file", tmp_path / "writes/link")
        refused(errno.EACCES, lambda: (tmp_path / "writes/link").read_text())

    confined(work)


@needs_landlock
@pytest.mark.parametrize(("number", "ends"), [(errno.EIO, True), (errno.EMFILE, True), (errno.ENOENT, False)])
def test_a_path_that_cannot_be_looked_at_is_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, ends: bool
) -> None:
    """cleanup without its rule for incoming would serve, and take no mail for as long as it lives."""

    def refuse(path: str, flags: int) -> int:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr("tubepost.common.system.landlock.os.open", refuse)
    with pytest.raises(OSError) if ends else contextlib.nullcontext():
        landlock._add(-1, str(tmp_path), 0)


def test_a_program_without_network_cannot_connect(tmp_path: Path) -> None:
    import socket

    if landlock.version() < 4:
        pytest.skip("this kernel's Landlock knows no TCP")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = listener.getsockname()

        def work() -> None:
            privileges.no_new_privileges()
            landlock.restrict(read=[], write=[], connect=False)
            refused(errno.EACCES, lambda: socket.create_connection(where, 1))
            with socket.socket() as other:
                refused(errno.EACCES, lambda: other.bind(("127.0.0.1", 0)))

        confined(work)


def filtered(*, programs: bool) -> None:
    privileges.no_new_privileges()
    if not seccomp.restrict(programs=programs):
        os._exit(0)  # an architecture without numbers


def test_no_program_is_started_and_threads_work() -> None:
    def work() -> None:
        filtered(programs=False)
        refused(errno.EPERM, lambda: os.execv("/bin/true", ["true"]))
        refused(errno.EPERM, os.fork)
        refused(errno.EPERM, lambda: os.posix_spawn("/bin/true", ["true"], {}))
        done: list[int] = []
        thread = threading.Thread(target=lambda: done.append(1))
        thread.start()
        thread.join()
        assert done == [1]

    confined(work)


def test_where_programs_are_allowed_they_start() -> None:
    def work() -> None:
        filtered(programs=True)
        pid = os.fork()
        if pid == 0:
            os.execv("/bin/true", ["true"])
        assert os.waitpid(pid, 0)[1] == 0

    confined(work)


@pytest.mark.parametrize("programs", [True, False])
def test_what_no_mail_program_needs_is_refused(programs: bool) -> None:
    def work() -> None:
        library = ctypes.CDLL(None, use_errno=True)
        filtered(programs=programs)
        calls: tuple[Callable[[], int], ...] = (
            lambda: library.ptrace(0, 0, 0, 0),
            lambda: library.mount(b"none", b"/mnt", b"tmpfs", 0, None),
            lambda: library.unshare(0x10000000),
            lambda: library.chroot(b"/"),
            lambda: library.syscall(ctypes.c_long(425), 1, None),
        )
        for call in calls:
            ctypes.set_errno(0)
            assert call() == -1 and ctypes.get_errno() == errno.EPERM

    if os.uname().machine not in seccomp._ARCHITECTURES:
        pytest.skip("no filter for this architecture")
    confined(work)


@needs_root
def test_another_account_is_for_good() -> None:
    def work() -> None:
        privileges.become(NOBODY, NOBODY)
        assert os.getresuid() == (NOBODY,) * 3 and os.getresgid() == (NOBODY,) * 3 and os.getgroups() == []
        assert privileges.permitted() == 0
        refused(errno.EPERM, lambda: os.setuid(0))
        refused(errno.EACCES, lambda: open("/etc/shadow", "rb").close())

    confined(work)


@needs_root
def test_kept_capabilities_are_those_and_no_others(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    os.chmod(secret, 0)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and str(folder).startswith("/tmp/"):
            os.chmod(folder, 0o755)

    def work() -> None:
        privileges.become(NOBODY, NOBODY, frozenset({privileges.DAC_READ_SEARCH}))
        assert privileges.permitted() == 1 << privileges.DAC_READ_SEARCH
        assert secret.read_text() == "x"
        refused(errno.EACCES, lambda: secret.write_text("y"))

    confined(work)


@needs_root
def test_root_without_its_power() -> None:
    def work() -> None:
        privileges.keep_capabilities(frozenset({privileges.CHOWN}))
        assert privileges.permitted() & ~(1 << privileges.CHOWN) == 0
        refused(errno.EPERM, lambda: os.setuid(NOBODY))

    confined(work)


@needs_root
def test_files_are_made_and_read_as_the_user(tmp_path: Path) -> None:
    home, other = tmp_path / "home", tmp_path / "other"
    home.mkdir()
    os.chown(home, 4001, 4002)
    other.mkdir(mode=0o700)
    for folder in tmp_path.parents:
        if str(folder).startswith("/tmp/"):
            os.chmod(folder, 0o755)
    os.chmod(tmp_path, 0o755)

    def work() -> None:
        with identity.acting_as(4001, 4002):
            (home / "mail").write_text("x")
            refused(errno.EACCES, lambda: (other / "mail").write_text("x"))
            refused(errno.EACCES, lambda: os.listdir(other))
        found = (home / "mail").stat()
        assert (found.st_uid, found.st_gid) == (4001, 4002) and stat.S_ISREG(found.st_mode)
        (other / "mail").write_text("root again")
        # One thread's identity is not another's.
        identity.act_as(4001, 4002)
        seen: list[str] = []

        def read() -> None:
            identity.act_as(-1, -1)  # it began as its maker
            seen.extend(os.listdir(other))

        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
        assert seen == ["mail"]
        identity.act_as(4003, 4003)
        refused(errno.EACCES, lambda: (home / "more").write_text("x"))
        identity.act_as(-1, -1)
        (home / "more").write_text("x")

    confined(work)


@needs_root
def test_groups_of_the_user_count_and_go(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    os.chown(shared, 0, 4010)
    os.chmod(shared, 0o770)
    for folder in (tmp_path, *tmp_path.parents):
        if str(folder).startswith("/tmp/"):
            os.chmod(folder, 0o755)

    def work() -> None:
        with identity.acting_as(4001, 4001, (4001, 4010)):
            (shared / "x").write_text("x")
        with identity.acting_as(4001, 4001):
            refused(errno.EACCES, lambda: (shared / "y").write_text("y"))

    confined(work)


@needs_root
def test_one_that_may_not_change_says_so() -> None:
    def work() -> None:
        privileges.keep_capabilities(frozenset())
        try:
            identity.act_as(4001, 4001)
        except identity.CannotBecome:
            pass
        else:
            raise AssertionError("nothing was said")

    confined(work)


@needs_root
def test_root_in_name_is_in_none_of_the_groups_of_who_started_the_system() -> None:
    def work() -> None:
        os.setgroups((4, 27))
        privileges.keep_capabilities(frozenset({privileges.CHOWN}))
        assert os.getgroups() == []

    confined(work)


@needs_root
def test_root_in_name_without_the_right_to_leave_groups_is_root_in_name_all_the_same() -> None:
    def work() -> None:
        # As in a container that was given few capabilities.
        privileges.keep_capabilities(frozenset({privileges.CHOWN}))
        privileges.keep_capabilities(frozenset())
        assert privileges.permitted() == 0

    confined(work)
