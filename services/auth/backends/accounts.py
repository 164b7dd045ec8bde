"""``accounts``: the built-in accounts. The password, then the application passwords that are for what is asked."""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tubepost.common.system import log
from tubepost.common.accounts import AccountsError, ApplicationPassword, Directory, Passwords, StoredPassword, User
from tubepost.common.accounts import directory as directory_file
from tubepost.common.accounts import passwords as passwords_file
from tubepost.common.config import Config

from tubepost.services.auth import schemes
from tubepost.services.auth.backends.base import UNKNOWN, WRONG, Account, Backend, Context, Result, Unavailable, Verdict
from tubepost.services.auth.hashing import Hasher

# The last use of an application password is written down this often at most, seconds.
_NOTE_INTERVAL = 60.0

T = TypeVar("T")


class AccountsBackend(Backend):
    name = "accounts"
    has_scram = True

    def __init__(self, config: Config, hasher: Hasher) -> None:
        self._accounts = config.accounts_directory
        self._secrets = config.auth_directory
        self._hasher = hasher
        # One thread: SQLite may have to wait for a writer, which the loop must not.
        self._thread = ThreadPoolExecutor(1, "accounts")
        self._directory: Directory | None = None
        self._passwords: Passwords | None = None
        self._identity: tuple[int, int] = (0, 0)
        self._identity_of_passwords: tuple[int, int] | None = None
        self._told_missing = False

    async def open(self) -> None:
        try:
            await self._run(self._open_passwords)
        except Unavailable as error:
            log.warning(str(error))

    async def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        for database in (self._directory, self._passwords):
            if database is not None:
                database.close()

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except AccountsError as error:
            raise Unavailable(str(error)) from error

    # -- in the thread -----------------------------------------------------------------------------------------------

    def _open_passwords(self) -> Passwords:
        path = os.path.join(self._secrets, passwords_file.FILE)
        found = _identity(path)
        if self._passwords is not None and found != self._identity_of_passwords:
            # Put back from a copy: what the old file says counts no more.
            self._passwords.close()
            self._passwords = None
        if self._passwords is None:
            self._passwords = Passwords(self._secrets)
            self._identity_of_passwords = found or _identity(path)
        return self._passwords

    def _open_directory(self) -> Directory | None:
        """None while there are no accounts at all. Opened to write, though nothing is written: a journal that a killed
        writer left is put right by who may write.
        """
        path = os.path.join(self._accounts, directory_file.FILE)
        try:
            found = os.stat(path)
        except FileNotFoundError:
            if not self._told_missing:
                log.info(f"{path} is not there: no accounts yet; make them with tubepost domain add, tubepost user add")
                self._told_missing = True
            return None
        except OSError as error:
            raise AccountsError(f"cannot read {path}: {error.strerror}") from error
        if self._directory is not None and self._identity == (found.st_ino, found.st_dev):
            return self._directory
        if self._directory is not None:
            self._directory.close()
            self._directory = None
        try:
            self._directory = Directory(self._accounts, write=True)
        except AccountsError:
            self._directory = Directory(self._accounts)
        self._identity = (found.st_ino, found.st_dev)
        return self._directory

    def _find(self, name: str) -> User | None:
        directory = self._open_directory()
        return directory.user(name) if directory is not None else None

    def _secrets_of(self, name: str) -> tuple[User | None, StoredPassword | None, list[ApplicationPassword]]:
        user = self._find(name)
        passwords = self._open_passwords()
        return user, passwords.password(name), passwords.application_passwords(name)

    def heal(self) -> None:
        """A journal beside the database is that of a writer at work, or of one that was killed: reading decides."""
        directory = self._open_directory()
        if directory is not None and os.path.exists(f"{directory.path}-journal"):
            directory.has_domain("")

    # -- questions ---------------------------------------------------------------------------------------------------

    async def verify(self, name: str, password: str, context: Context) -> Result:
        user, stored, others = await self._run(lambda: self._secrets_of(name))
        if user is None:
            return UNKNOWN
        account = account_of(user)
        for other in others:
            try:
                if not schemes.check(other.hash, password):
                    continue
            except schemes.UnknownScheme as error:
                log.error(f'the application password "{other.label}" of {user.name} cannot be checked: {error}')
                continue
            if other.scopes and context.scope not in other.scopes:
                return Result(Verdict.SCOPE, note=f'application password "{other.label}"')
            now = time.time()
            if now - other.last_use >= _NOTE_INTERVAL:
                await self._note(user.name, other.label, context.client, now)
            return Result(Verdict.RIGHT, account, f'application password "{other.label}"')
        try:
            right = await self._hasher.check(stored.hash if stored is not None else None, password)
        except schemes.UnknownScheme as error:
            log.error(f"the password of {user.name} cannot be checked: {error}; set it with tubepost user passwd")
            return WRONG
        return Result(Verdict.RIGHT, account) if right else WRONG

    async def _note(self, name: str, label: str, client: str, now: float) -> None:
        try:
            await self._run(lambda: self._open_passwords().note_use(name, label, client, now))
        except Unavailable as error:
            log.warning(f"the use of an application password is not written down: {error}")

    async def keys(self, name: str, scheme: str) -> str | None:
        user, stored, _ = await self._run(lambda: self._secrets_of(name))
        if user is None or stored is None:
            return None
        if scheme == "PLAIN":
            return schemes.clear_text(stored.hash)
        own = stored.scram_sha_1 if scheme == "SCRAM-SHA-1" else stored.scram_sha_256
        return own or schemes.scram_text(stored.hash, scheme)

    async def user(self, name: str) -> Account | None:
        user = await self._run(lambda: self._find(name))
        return account_of(user) if user is not None else None

    async def verify_master(self, name: str, password: str) -> bool:
        stored = await self._run(lambda: self._open_passwords().master(name))
        try:
            return await self._hasher.check(stored, password)
        except schemes.UnknownScheme as error:
            log.error(f"the password of the master user {name} cannot be checked: {error}")
            return False

    async def tend(self) -> None:
        """Now and then."""
        try:
            await self._run(self.heal)
        except Unavailable as error:
            log.warning(str(error))


def _identity(path: str) -> tuple[int, int] | None:
    """None: there is no such file, or it cannot be looked at."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_dev


def account_of(user: User) -> Account:
    return Account(
        user.name,
        user.home,
        user.mailbox,
        user.uid,
        user.gid,
        user.quota_bytes,
        user.quota_messages,
        user.enabled,
    )


def make(argument: str, config: Config, hasher: Hasher) -> Backend:
    """Raises ValueError."""
    if argument:
        raise ValueError("accounts takes no argument; accounts_directory says where they are")
    return AccountsBackend(config, hasher)
