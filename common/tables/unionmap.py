"""``unionmap:{ type:name, … }``: every table is asked, the values found are joined with commas (Postfix unionmap)."""

from tubepost.common.tables.composite import CompositeTable
from tubepost.common.tables.table import Table, TableEnvironment


class UnionTable(CompositeTable):
    __slots__ = ()

    def _find(self, key: str) -> str | None:
        values = [value for table in self.tables if (value := table.find(key)) is not None]
        return ",".join(values) if values else None

    async def _ask(self, key: str) -> str | None:
        values = [value for table in self.tables if (value := await table.lookup(key)) is not None]
        return ",".join(values) if values else None


def open_table(kind: str, name: str, environment: TableEnvironment, fold: bool) -> Table:
    """See registry.Opener."""
    return UnionTable(kind, name, environment, fold)
