"""authorized_*_users."""

import asyncio
import os
import pwd

import pytest

from tubepost.common.tables import TableEnvironment
from tubepost.common.tables.users import forbidden, login_name

ME = pwd.getpwuid(os.getuid()).pw_name
NOBODY_HAS = 3_999_999_999


def ask(patterns: tuple[str, ...], uid: int = os.getuid(), owner: str = "") -> str:
    environment = TableEnvironment(warn=lambda _: None)
    return asyncio.run(forbidden("authorized_mailq_users", patterns, uid, environment, owner))


@pytest.mark.parametrize(
    ("patterns", "uid", "owner", "name"),
    [
        (("static:anyone",), NOBODY_HAS, "", ""),
        ((ME,), os.getuid(), "", ""),
        (("!" + ME, "static:all"), os.getuid(), "", ME),
        ((), os.getuid(), "", ME),
        ((), os.getuid(), ME, ""),
        ((), 0, "nobody-at-all", ""),
        (("inline:{ x=y }",), NOBODY_HAS, ME, "unknown"),
        ((f"inline:{{ {ME}=y }}",), os.getuid(), "", ""),
        (("fail:1",), os.getuid(), "", ME),
    ],
)
def test_who_may(patterns: tuple[str, ...], uid: int, owner: str, name: str) -> None:
    assert ask(patterns, uid, owner) == name


def test_who_has_no_account_is_unknown() -> None:
    assert login_name(NOBODY_HAS) == "unknown"
