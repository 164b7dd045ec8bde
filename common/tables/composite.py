"""What unionmap and pipemap share: a name that is a list of other tables, ``{ type:name, type:name }``."""

from tubepost.common.tables.registry import open_table as open_any
from tubepost.common.tables.table import Table, TableEnvironment, TableError
from tubepost.common.tables.words import SyntaxFault, inside_braces, split_list


class CompositeTable(Table):
    """Subclasses say in ``_ask`` and ``_find`` what is made of the members' answers."""

    __slots__ = ("_environment", "_fold", "immediate", "patterned", "tables", "volatile")

    def __init__(self, kind: str, name: str, environment: TableEnvironment, fold: bool) -> None:
        self._environment = environment
        self._fold = fold
        self.tables = self._open_members(kind, name, True)
        # As in Postfix the first table says whether parts of addresses may be asked.
        self.patterned = self.tables[0].patterned
        self.immediate = all(table.immediate for table in self.tables)
        self.volatile = any(table.volatile for table in self.tables)
        super().__init__(kind, name, False)

    def _open_members(self, kind: str, name: str, substitution: bool) -> tuple[Table, ...]:
        try:
            members = split_list(inside_braces(name))
        except SyntaxFault as fault:
            raise TableError(f"{kind}:{name}: {fault}; expected {kind}:{{ type:name, ... }}") from fault
        if not members or any(":" not in member for member in members):
            raise TableError(f"{kind}:{name}: bad syntax; expected {kind}:{{ type:name, ... }}")
        return tuple(
            open_any(member, environment=self._environment, fold=self._fold, substitution=substitution, strict=True)
            for member in members
        )

    def forbid_substitution(self) -> None:
        # Members may be shared with parameters that allow it, so others are opened.
        self.tables = self._open_members(self.kind, self.name, False)
