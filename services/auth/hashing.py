"""Checks passwords against hashes in threads, remembers which were right, and takes as long for users that are none."""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tubepost.common.accounts.hashing import Cost, hash_password

from tubepost.services.auth import schemes

_CACHE_LIMIT = 50_000


class Hasher:
    """One a program. ``keep``: seconds that a right password is remembered; 0: never."""

    def __init__(self, threads: int, cost: Cost, keep: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = ThreadPoolExecutor(threads, "hash")
        self._keep = keep
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._right: dict[bytes, float] = {}
        # What unknown users' passwords are compared with: of the same cost as those of users.
        self._nobody = hash_password(secrets.token_urlsafe(16), cost)
        self.hashed = 0
        """How often a password was really hashed."""

    async def check(self, stored: str | None, password: str) -> bool:
        """Is it the password of this hash? None: there is no such user; it takes as long, and is False.

        Raises schemes.UnknownScheme.
        """
        digest = self.digest(f"{stored}\0{password}") if stored is not None else b""
        if stored is not None and self._keep:
            # The hash is part of it: a changed password is not remembered.
            until = self._right.get(digest)
            if until is not None and self._clock() < until:
                return True
        loop = asyncio.get_running_loop()
        self.hashed += 1
        right = await loop.run_in_executor(self._pool, schemes.check, stored or self._nobody, password)
        if stored is None or not right:
            return False
        if self._keep:
            if len(self._right) >= _CACHE_LIMIT:
                now = self._clock()
                self._right = {key: until for key, until in self._right.items() if until > now}
                if len(self._right) >= _CACHE_LIMIT:
                    self._right.clear()
            self._right[digest] = self._clock() + self._keep
        return True

    def digest(self, text: str) -> bytes:
        """Keyed: means nothing outside of this process."""
        return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), key=self._key, digest_size=20).digest()

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
