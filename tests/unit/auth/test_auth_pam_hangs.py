"""PAM whose modules hang: clients are told to come again, no more threads are given, and a new process is asked for."""

import asyncio
import contextlib
import pwd
import threading
from collections.abc import Iterator

import pytest

from tubepost.common.config import Config

from tubepost.services.auth.backends import pam
from tubepost.services.auth.backends.base import Account, Context, Unavailable, Verdict
from tubepost.services.auth.backends.pam import Library, Pam

CONTEXT = Context("imap", "imap", "192.0.2.1", "192.0.2.2", True)


class Fake(Library):
    """Hangs for the password ``hang``, and takes ``right``."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.checks = 0

    def check(self, service: str, login: str, password: str, client: str) -> int:
        self.checks += 1
        if password == "hang":
            self.released.wait(20)
        return 0 if password == "right" else 7


class Known(Pam):
    async def user(self, name: str) -> Account | None:
        return Account(pwd.getpwuid(0).pw_name)


@pytest.fixture
def fake() -> Iterator[Fake]:
    made = Fake()
    yield made
    made.released.set()


def test_hanging_modules(fake: Fake) -> None:
    backend = Known("x", Config(texts={"auth_pam_timeout": "1"}), fake)
    backend._timeout = 0.05

    async def hang() -> None:
        with contextlib.suppress(Unavailable):
            await backend.verify("a", "hang", CONTEXT)
            raise AssertionError("it hangs")

    async def go() -> None:
        for _ in range(pam._HANGING_LIMIT - 1):
            await hang()
        assert not backend.worn
        # The others are served meanwhile.
        assert (await backend.verify("a", "right", CONTEXT)).verdict is Verdict.RIGHT
        assert (await backend.verify("a", "wrong", CONTEXT)).verdict is Verdict.WRONG
        await hang()
        assert backend.worn
        count = fake.checks
        with pytest.raises(Unavailable, match="no more are begun"):
            await backend.verify("a", "right", CONTEXT)
        assert fake.checks == count, "no thread more is given"
        await backend.close()

    asyncio.run(go())


def test_modules_that_are_slow_only_are_forgiven(fake: Fake) -> None:
    backend = Known("x", Config(), fake)
    backend._timeout = 0.05

    async def go() -> None:
        for _ in range(pam._HANGING_LIMIT - 1):
            with pytest.raises(Unavailable, match="does not answer"):
                await backend.verify("a", "hang", CONTEXT)
        fake.released.set()
        backend._timeout = 10
        for _ in range(20):
            assert (await backend.verify("a", "right", CONTEXT)).whole
        assert not backend.worn
        assert backend._hanging() == 0
        await backend.close()

    asyncio.run(go())
