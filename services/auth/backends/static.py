"""``static``: whoever another backend lets in exists, with the mailbox of auth_default_mailbox. Stands last.

For look-ups (does this address exist?) it says yes to all of virtual_mailbox_domains that stand in main.cf by name.
"""

from tubepost.common.config import Config

from tubepost.services.auth.backends.base import Account, Backend
from tubepost.services.auth.hashing import Hasher
from tubepost.services.auth.users import is_safe


class Static(Backend):
    name = "static"
    has_passwords = False

    def __init__(self, config: Config) -> None:
        self._domains = {name.lower() for name in config.virtual_mailbox_domains if ":" not in name and "/" not in name}

    async def user(self, name: str) -> Account | None:
        local, _, domain = name.rpartition("@")
        return Account(name) if domain in self._domains and is_safe(local) else None


def make(argument: str, config: Config, hasher: Hasher) -> Backend:
    """Raises ValueError."""
    if argument:
        raise ValueError("static takes no argument; see auth_default_mailbox")
    return Static(config)
