"""``passwd``: users of this system, as getpwnam(3) knows them; no passwords. For names without a domain, or of
``mydestination``'s.
"""

import asyncio
import os

from tubepost.common.system import users
from tubepost.common.config import Config

from tubepost.services.auth.backends.base import Account, Backend, Unavailable
from tubepost.services.auth.hashing import Hasher


class SystemUsers(Backend):
    name = "passwd"
    has_passwords = False

    def __init__(self, config: Config) -> None:
        self._domains = {name.lower() for name in config.mydestination}
        self._minimum = config.virtual_minimum_uid
        self._mailbox = config.home_mailbox or "Maildir/"

    def login_of(self, name: str) -> str:
        """The login name, or empty: not a user of this system."""
        local, at, domain = name.rpartition("@")
        if not at:
            return name
        return local if domain in self._domains else ""

    async def user(self, name: str) -> Account | None:
        login = self.login_of(name)
        if not login or "/" in login or "\0" in login:
            return None
        try:
            # Names may come from a directory service.
            entry = await asyncio.to_thread(users.user, login)
        except OSError as error:
            raise Unavailable(f"passwd: the users of this system cannot be looked up: {error.strerror}") from error
        if entry is None or entry.pw_uid < self._minimum:
            return None
        mailbox = os.path.join(entry.pw_dir, self._mailbox)
        return Account(entry.pw_name, entry.pw_dir, mailbox, entry.pw_uid, entry.pw_gid)


def make(argument: str, config: Config, hasher: Hasher) -> Backend:
    """Raises ValueError."""
    if argument:
        raise ValueError("passwd takes no argument")
    return SystemUsers(config)
