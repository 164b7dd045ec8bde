"""No such user, and nobody could tell: two answers."""

import errno
import os
import pwd
import resource
import sys
from collections.abc import Callable

import pytest

from tubepost.common.system import users


def _with_no_descriptor_left(work: Callable[[], None]) -> None:
    """In a child, where /etc/passwd cannot be opened."""
    child = os.fork()
    if child == 0:
        try:
            taken = os.open("/dev/null", os.O_RDONLY)
            resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 1, taken + 1))
            work()
            os._exit(0)
        except BaseException as error:
            sys.stderr.write(f"{error!r}\n")
            sys.stderr.flush()
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    ("look", "there", "not_there"),
    [
        (users.user, "root", "no-such-user"),
        (users.user_by_id, 0, 3_999_999_999),
        (users.group, "root", "no-such-group"),
    ],
)
def test_found_not_found_and_not_to_be_told(look: Callable[..., object], there: object, not_there: object) -> None:
    assert look(there) is not None
    assert look(not_there) is None

    def work() -> None:
        with pytest.raises(OSError) as caught:
            look(not_there)
        assert caught.value.errno == errno.EMFILE

    _with_no_descriptor_left(work)


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800", "x" * 100_000, "root\n"])
def test_what_can_be_nobodys_name(name: str) -> None:
    assert users.user(name) is None
    assert users.group(name) is None


@pytest.mark.parametrize("uid", [-1, 1 << 32, 1 << 70])
def test_what_can_be_nobodys_number(uid: int) -> None:
    assert users.user_by_id(uid) is None


def test_the_same_entry_as_the_system_has() -> None:
    assert users.user("root") == pwd.getpwnam("root")
