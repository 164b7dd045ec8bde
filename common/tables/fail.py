"""``fail:name``: every look-up fails for the time being: for tests of what happens then."""

from tubepost.common.tables.table import Table, TableEnvironment, TableError


class FailTable(Table):
    __slots__ = ()
    patterned = True

    def _find(self, key: str) -> str | None:
        raise TableError(f"{self.spec}: this table fails on purpose")


def open_table(kind: str, name: str, environment: TableEnvironment, fold: bool) -> Table:
    """See registry.Opener."""
    return FailTable(kind, name, fold)
