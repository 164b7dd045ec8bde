"""``unix:passwd.byname`` and ``unix:group.byname``: the system's users and groups, as one line of their files.

The name service may be a network (NSS); it is asked in this thread, as every program of the system does. Keys are
folded to lower case for programs that fold.
"""

from tubepost.common.system import users
from tubepost.common.tables.table import Table, TableEnvironment, TableError


class PasswdTable(Table):
    __slots__ = ()

    def _find(self, key: str) -> str | None:
        try:
            entry = users.user(key)
        except OSError as error:
            raise TableError(f"{self.spec}: cannot access the password database: {error.strerror}") from error
        if entry is None:
            return None
        return (
            f"{entry.pw_name}:{entry.pw_passwd}:{entry.pw_uid}:{entry.pw_gid}:"
            f"{entry.pw_gecos}:{entry.pw_dir}:{entry.pw_shell}"
        )


class GroupTable(Table):
    __slots__ = ()

    def _find(self, key: str) -> str | None:
        try:
            entry = users.group(key)
        except OSError as error:
            raise TableError(f"{self.spec}: cannot access the group database: {error.strerror}") from error
        if entry is None:
            return None
        return f"{entry.gr_name}:{entry.gr_passwd}:{entry.gr_gid}:{','.join(entry.gr_mem)}"


_TABLES: dict[str, type[Table]] = {"passwd.byname": PasswdTable, "group.byname": GroupTable}


def open_table(kind: str, name: str, environment: TableEnvironment, fold: bool) -> Table:
    """See registry.Opener."""
    table = _TABLES.get(name)
    if table is None:
        raise TableError(f"{kind}:{name}: unknown table: choose one of {', '.join(_TABLES)}")
    return table(kind, name, fold)
