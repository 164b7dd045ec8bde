"""``internal:name``: a table in this process's memory, empty at first, which may be written to."""

from tubepost.common.tables.table import Table, TableEnvironment
from tubepost.common.tables.texthash import DictionaryTable


class InternalTable(DictionaryTable):
    __slots__ = ()
    writable = True

    async def update(self, key: str, value: str) -> None:
        self.values[key.casefold() if self.fold else key] = value

    async def delete(self, key: str) -> bool:
        return self.values.pop(key.casefold() if self.fold else key, None) is not None


def open_table(kind: str, name: str, environment: TableEnvironment, fold: bool) -> Table:
    """See registry.Opener."""
    return InternalTable(kind, name, fold, {})
