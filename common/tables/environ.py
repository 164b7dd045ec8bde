"""``environ:`` the process environment: the key is a variable's name."""

import os

from tubepost.common.tables.table import Table, TableEnvironment


class EnvironmentTable(Table):
    __slots__ = ()

    def _find(self, key: str) -> str | None:
        return os.environ.get(key)


def open_table(kind: str, name: str, environment: TableEnvironment, fold: bool) -> Table:
    """See registry.Opener. Variable names keep their case when ``fold`` is off (postmap -f)."""
    return EnvironmentTable(kind, name, fold)
