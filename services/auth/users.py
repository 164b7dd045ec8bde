"""Completes what a backend knows of a user: mailbox, home, and whose files they are."""

import os
import re

from tubepost.common.wire.auth import User
from tubepost.common.config import Config
from tubepost.common.tables import Maps, TableEnvironment, TableError, address

from tubepost.services.auth.backends.base import Account, Unavailable

_LETTER = re.compile(r"%([%und])")


def expand(template: str, name: str) -> str:
    """``%u`` the user, ``%n`` its local part, ``%d`` its domain, ``%%`` a percent sign (Dovecot's letters)."""
    local, at, domain = name.rpartition("@")
    if not at:
        local, domain = name, ""
    values = {"%": "%", "u": name, "n": local, "d": domain}
    return _LETTER.sub(lambda match: values[match[1]], template)


def is_safe(name: str) -> bool:
    """Can it become a path? A name from a backend is a client's own words."""
    return bool(name) and "/" not in name and "\0" not in name and name.isprintable() and not name.startswith(".")


class Users:
    def __init__(self, config: Config, environment: TableEnvironment) -> None:
        self._base = config.virtual_mailbox_base
        self._mailbox = config.auth_default_mailbox
        self._home = config.auth_default_home
        self._delimiter = config.recipient_delimiter
        self._uids = self._maps(config, "virtual_uid_maps", environment)
        self._gids = self._maps(config, "virtual_gid_maps", environment)

    @staticmethod
    def _maps(config: Config, name: str, environment: TableEnvironment) -> Maps:
        specs = [spec.removeprefix("proxy:") for spec in config.get(name)]
        return Maps(specs, environment, title=name, substitution=False)

    async def complete(self, account: Account) -> User:
        """Raises Unavailable: a table cannot tell, or there is no place for the mailbox."""
        name = account.name
        mailbox = account.mailbox
        if not mailbox:
            if not all(is_safe(part) for part in name.split("@")):
                raise Unavailable(f"{name!r} cannot be the name of a mailbox")
            mailbox = expand(self._mailbox, name)
        if not mailbox.startswith("/"):
            if not self._base:
                raise Unavailable(f"the mailbox of {name} cannot be told: set virtual_mailbox_base")
            if "/../" in f"/{mailbox}/":
                raise Unavailable(f"the mailbox of {name} is not below virtual_mailbox_base: {mailbox}")
            mailbox = os.path.join(self._base, mailbox)
        home = account.home or expand(self._home, name)
        uid = account.uid if account.uid >= 0 else await self._owner(self._uids, name)
        gid = account.gid if account.gid >= 0 else await self._owner(self._gids, name)
        return User(
            name=name,
            home=home,
            mailbox=mailbox,
            uid=uid,
            gid=gid,
            quota_bytes=account.quota_bytes,
            quota_messages=account.quota_messages,
        )

    async def _owner(self, maps: Maps, name: str) -> int:
        if not maps:
            return -1
        try:
            found = await address.find(maps, name, delimiter=self._delimiter)
        except TableError as error:
            raise Unavailable(str(error)) from error
        if found is None:
            return -1
        if not (found.value.isascii() and found.value.isdigit()):
            raise Unavailable(f'{maps.title}: "{found.value}" for {name} is not a number')
        return int(found.value)
