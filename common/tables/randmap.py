"""``randmap:{ value, value }``: one of the values, whatever the key (Postfix randmap)."""

import random

from tubepost.common.tables.table import Table, TableEnvironment, TableError
from tubepost.common.tables.words import SyntaxFault, inside_braces, split_list


class RandomTable(Table):
    __slots__ = ("values",)
    patterned = True
    volatile = True

    def __init__(self, kind: str, name: str, fold: bool, values: tuple[str, ...]) -> None:
        super().__init__(kind, name, fold)
        self.values = values

    def _find(self, key: str) -> str | None:
        return random.choice(self.values)


def open_table(kind: str, name: str, environment: TableEnvironment, fold: bool) -> Table:
    """See registry.Opener."""
    try:
        items = split_list(inside_braces(name))
        values = tuple(inside_braces(item) if item.startswith("{") else item for item in items)
    except SyntaxFault as fault:
        raise TableError(f"{kind}:{name}: {fault}; expected {kind}:{{ value, ... }}") from fault
    if not values:
        raise TableError(f"{kind}:{name}: bad syntax; expected {kind}:{{ value, ... }}")
    return RandomTable(kind, name, fold, values)
