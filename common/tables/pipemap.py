"""``pipemap:{ type:name, … }``: each table is asked for the value that the one before gave (Postfix pipemap)."""

from tubepost.common.tables.composite import CompositeTable
from tubepost.common.tables.table import Table, TableEnvironment


class PipeTable(CompositeTable):
    __slots__ = ()

    def _find(self, key: str) -> str | None:
        value: str | None = key
        for table in self.tables:
            if value is None:
                return None
            value = table.find(value)
        return value

    async def _ask(self, key: str) -> str | None:
        value: str | None = key
        for table in self.tables:
            if value is None:
                return None
            value = await table.lookup(value)
        return value


def open_table(kind: str, name: str, environment: TableEnvironment, fold: bool) -> Table:
    """See registry.Opener."""
    return PipeTable(kind, name, environment, fold)
