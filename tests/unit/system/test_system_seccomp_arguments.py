"""Calls that are allowed or refused by what they are about: priority, limits, families of sockets, modes by name."""

import ctypes
import errno
import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tubepost.common.system import privileges, seccomp

from tests.unit.system.test_system_sandbox import confined, refused

pytestmark = pytest.mark.skipif(not seccomp.is_known(), reason="no filter for this architecture")

PARENT = os.getpid()


def within(work: Callable[[], None], **filters: bool) -> None:
    def run() -> None:
        privileges.no_new_privileges()
        seccomp.restrict(**{"programs": False, **filters})
        work()

    confined(run)


def test_one_is_slower_oneself_and_makes_nobody_else_so() -> None:
    def work() -> None:
        os.nice(1)
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0))
        refused(errno.EPERM, lambda: os.setpriority(os.PRIO_PROCESS, PARENT, 5))
        refused(errno.EPERM, lambda: os.setpriority(os.PRIO_USER, 0, 5))
        refused(errno.EPERM, lambda: os.sched_setaffinity(PARENT, {0}))
        refused(errno.EPERM, lambda: resource.prlimit(PARENT, resource.RLIMIT_NOFILE))
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        refused(errno.EPERM, lambda: os.sched_setscheduler(PARENT, os.SCHED_IDLE, os.sched_param(0)))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    within(work)


@pytest.mark.parametrize(
    ("filters", "allowed"),
    [
        ({"network": False}, {socket.AF_UNIX}),
        ({"network": True}, {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK}),
        ({"programs": True, "network": False}, {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK}),
    ],
)
def test_sockets_by_family(filters: dict[str, bool], allowed: set[int]) -> None:
    def work() -> None:
        for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET, 38, 40):
            kind = socket.SOCK_RAW if family in (socket.AF_NETLINK, socket.AF_PACKET) else socket.SOCK_STREAM
            if family in allowed:
                socket.socket(family, kind).close()
            else:
                refused(errno.EAFNOSUPPORT, lambda family=family, kind=kind: socket.socket(family, kind))  # type: ignore[misc]

    within(work, **filters)


def test_modes_by_name_and_by_descriptor(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")

    def work() -> None:
        refused(errno.EPERM, lambda: os.chmod(file, 0o666))
        refused(errno.EPERM, lambda: os.chown(file, os.getuid(), -1))
        refused(errno.EPERM, lambda: os.chown(file, os.getuid(), -1, follow_symlinks=False))
        refused(errno.EPERM, lambda: os.setxattr(file, "user.x", b""))
        with file.open("rb") as opened:
            os.fchmod(opened.fileno(), 0o600)

    within(work, modes=False)
    within(lambda: os.chmod(file, 0o600), modes=True)


def test_a_user_namespace_is_not_to_be_had_by_clone_either() -> None:
    def work() -> None:
        library = ctypes.CDLL(None, use_errno=True)
        number = ctypes.c_long({"x86_64": 56, "aarch64": 220}[os.uname().machine])
        for flag in (0x20000, 0x2000000, 0x10000000, 0x20000000, 0x40000000):
            pid = library.syscall(number, ctypes.c_long(flag | 17), None, None, None, None)
            if pid == 0:
                os._exit(0)
            assert pid == -1 and ctypes.get_errno() == errno.EPERM, hex(flag)

    within(work, programs=True)
