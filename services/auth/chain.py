"""The backends in order: who knows this user, and is this the password?"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace

from tubepost.common.system import log
from tubepost.common.accounts.names import fold_name

from tubepost.services.auth import schemes
from tubepost.services.auth.backends.base import UNKNOWN, Account, Backend, Context, Result, Unavailable, Verdict
from tubepost.services.auth.hashing import Hasher

MasterCheck = Callable[[str, str], Awaitable[bool]]


class Chain:
    def __init__(
        self, backends: Sequence[Backend], masters: Sequence[Backend], hasher: Hasher, *, default_domain: str
    ) -> None:
        self.backends = tuple(backends)
        self._masters = tuple(masters)
        self._hasher = hasher
        self._default_domain = default_domain

    @property
    def has_scram(self) -> bool:
        return any(backend.has_scram for backend in self._that_are_asked())

    @property
    def has_clear(self) -> bool:
        return any(backend.has_clear for backend in self._that_are_asked())

    def _that_are_asked(self) -> Iterator[Backend]:
        """Those that know passwords, until one that passes no user on."""
        for backend in self.backends:
            if backend.has_passwords:
                yield backend
                if not backend.has_users:
                    return

    def name_of(self, login: str) -> str:
        """The account that a client means: folded, with auth_default_domain where it has no domain."""
        name = fold_name(login)
        if self._default_domain and "@" not in name:
            name = f"{name}@{self._default_domain}"
        return name

    async def verify(self, name: str, password: str, context: Context) -> Result:
        """The first backend that knows the user has the last word. An unknown user costs a hash as well.

        Raises Unavailable.
        """
        others = False
        for backend in self.backends:
            if backend.has_passwords:
                result = await backend.verify(name, password, context)
                if result.verdict is not Verdict.UNKNOWN:
                    # One before it may know the user, if not the password: that one is to be asked.
                    return replace(result, whole=False) if others and result.whole else result
            others = others or backend.has_users
        await self._hasher.check(None, password)
        return UNKNOWN

    async def verify_master(self, name: str, password: str, context: Context) -> bool:
        """Raises Unavailable."""
        for backend in self._masters:
            check: MasterCheck | None = getattr(backend, "verify_master", None)
            if check is not None:
                if await check(name, password):
                    return True
            elif (await backend.verify(name, password, context)).verdict is Verdict.RIGHT:
                return True
        return False

    async def keys(self, name: str, scheme: str) -> str | None:
        """Of the backend that has the last word on the password, as in ``verify``: what one after it knows of the user
        lets nobody in. Raises Unavailable.
        """
        for backend in self._that_are_asked():
            if backend.has_clear if scheme == "PLAIN" else backend.has_scram:
                found = await backend.keys(name, scheme)
                if found is not None:
                    return found
            if backend is not self.backends[-1] and await backend.has_last_word(name):
                return None
        return None

    async def user(self, name: str) -> Account | None:
        """What is known of a user, by the first backend that knows it. Raises Unavailable."""
        for backend in self.backends:
            if backend.has_users:
                found = await backend.user(name)
                if found is not None:
                    return found
        return None

    async def close(self) -> None:
        for backend in {id(b): b for b in (*self.backends, *self._masters)}.values():
            await backend.close()


async def check_hash(hasher: Hasher, stored: str, password: str, whose: str) -> Verdict:
    """RIGHT or WRONG, for backends that have a hash. A hash that cannot be used is told of in the log."""
    try:
        return Verdict.RIGHT if await hasher.check(stored, password) else Verdict.WRONG
    except schemes.UnknownScheme as error:
        log.error(f"the password of {whose} cannot be checked: {error}")
        return Verdict.WRONG


__all__ = ["Chain", "Unavailable", "check_hash"]
