"""``texthash:/path``: the source that postmap would compile, read as text when opened (Postfix texthash)."""

from collections.abc import Iterator

from tubepost.common.tables.files import read_value
from tubepost.common.tables.source import read_entries
from tubepost.common.tables.table import Table, TableEnvironment, TableError


class DictionaryTable(Table):
    """A table held in memory; also what ``inline`` opens."""

    __slots__ = ("values",)

    def __init__(self, kind: str, name: str, fold: bool, values: dict[str, str]) -> None:
        super().__init__(kind, name, fold)
        self.values = values

    def _find(self, key: str) -> str | None:
        return self.values.get(key)

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        for key, value in self.values.items():
            yield key.encode("utf-8", "surrogateescape"), value.encode("utf-8", "surrogateescape")


def open_table(kind: str, name: str, environment: TableEnvironment, fold: bool) -> Table:
    """See registry.Opener. The first of two entries with one key is kept, and the second warned of."""
    values: dict[str, str] = {}
    try:
        with open(name, encoding="utf-8", errors="surrogateescape") as file:
            for number, key, value in read_entries(file, name, environment.warn):
                key = key.casefold() if fold else key
                if key in values:
                    environment.warn(f'{name}, line {number}: duplicate entry: "{key}"')
                    continue
                content = read_value(value, environment, f"{name}, line {number}")
                if content is not None:
                    values[key] = content
    except OSError as error:
        raise TableError(f"{kind}:{name}: cannot open the file: {error.strerror}") from error
    return DictionaryTable(kind, name, fold, values)
