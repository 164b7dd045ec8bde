"""alias_maps, table by table: whose a table is decides whose commands and files its aliases may use."""

import os
import pwd
from collections.abc import Callable, Iterable
from typing import TypeVar

from tubepost.common.mail.address import quote_local
from tubepost.common.system import users
from tubepost.common.tables import Maps, Table, TableEnvironment, TableError

from tubepost.services.local.expansion import Alias, Trouble
from tubepost.services.local.protocol import NOBODY, Rights

# A compiled table is one of these files beside its name.
_SUFFIXES = (".db", ".lmdb", ".cdb", ".dir", "")
# Their content stands in main.cf, or is this system's own.
_IN_CONFIGURATION = frozenset({"inline", "static", "environ", "randmap", "unionmap", "pipemap", "fail", "unix", "nis"})

Key = TypeVar("Key", str, int)


def without_proxy(specs: Iterable[str]) -> list[str]:
    """``proxy:`` taken off: what an agent trusts with files and ids it reads itself (Postfix local(8), virtual(8))."""
    return [spec.removeprefix("proxy:") for spec in specs]


class AliasTables:
    def __init__(self, specs: Iterable[str], environment: TableEnvironment) -> None:
        self._maps = Maps(without_proxy(specs), environment, title="alias_maps", substitution=False)
        self._main = f"{environment.config_directory}/main.cf"

    async def find(self, name: str) -> Alias | None:
        """``name``: internal form, lower case. Raises Trouble when a table cannot tell."""
        quoted = quote_local(name)
        for table in self._maps.tables:
            try:
                value = await table.lookup(quoted)
                if value is None and quoted != name:
                    value = await table.lookup(name)
                if value is not None:
                    return Alias(value, self._rights(table))
            except TableError as error:
                raise Trouble("4.3.0", f"alias database unavailable: {error}") from error
        return None

    def _rights(self, table: Table) -> Rights:
        uid = self._owner(table)
        if uid == 0:
            return NOBODY
        owner = account_by_id(uid)
        if owner is None:
            raise Trouble("4.3.0", f"cannot find the owner of alias database {table.spec}: no user {uid}")
        return owner

    def _owner(self, table: Table) -> int:
        """Raises Trouble for a table that belongs to nobody here (tcp, socketmap)."""
        names = [self._main] if table.kind in _IN_CONFIGURATION else [table.name + suffix for suffix in _SUFFIXES]
        for name in names:
            try:
                return os.stat(name).st_uid
            except OSError:
                continue
        raise Trouble("4.3.0", f"mail system configuration error: alias database {table.spec} has no owner here")


def rights_of(entry: pwd.struct_passwd) -> Rights:
    return Rights(entry.pw_uid, entry.pw_gid, entry.pw_name, entry.pw_dir, entry.pw_shell)


def account(name: str) -> Rights | None:
    """The system's user, or None. Raises Trouble when the user database cannot tell."""
    return _look_up(users.user, name)


def account_by_id(uid: int) -> Rights | None:
    """As ``account``."""
    return _look_up(users.user_by_id, uid)


def _look_up(look: Callable[[Key], pwd.struct_passwd | None], key: Key) -> Rights | None:
    try:
        entry = look(key)
    except OSError as error:
        raise Trouble("4.0.0", f"user lookup error: {error.strerror}") from error
    return None if entry is None else rights_of(entry)
