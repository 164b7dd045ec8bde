"""``static:value`` or ``static:{ value with spaces }``: the same value for every key."""

from tubepost.common.tables.files import join_files
from tubepost.common.tables.table import Table, TableEnvironment, TableError
from tubepost.common.tables.words import SyntaxFault, inside_braces, split_list


class StaticTable(Table):
    __slots__ = ("value",)

    def __init__(self, kind: str, name: str, fold: bool, value: str) -> None:
        super().__init__(kind, name, fold)
        self.value = value

    def _find(self, key: str) -> str | None:
        return self.value


def open_table(kind: str, name: str, environment: TableEnvironment, fold: bool) -> Table:
    """See registry.Opener."""
    try:
        value = inside_braces(name) if name.startswith("{") else name
        if environment.files is not None:
            names = value
            value = join_files(names)
            environment.files += split_list(names)
    except TableError as error:
        raise TableError(f"{kind}:{name}: {error}") from error
    except SyntaxFault as fault:
        raise TableError(f"{kind}:{name}: {fault}") from fault
    return StaticTable(kind, name, fold, value)
