"""``inline:{ key=value, { key = text with spaces } }``: the table in main.cf itself (Postfix inline)."""

from tubepost.common.tables.files import read_value
from tubepost.common.tables.table import Table, TableEnvironment, TableError
from tubepost.common.tables.texthash import DictionaryTable
from tubepost.common.tables.words import SyntaxFault, inside_braces, split_list, split_pair


def open_table(kind: str, name: str, environment: TableEnvironment, fold: bool) -> Table:
    """See registry.Opener. The last of two pairs with one key counts, as in Postfix."""
    values: dict[str, str] = {}
    try:
        pairs = split_list(inside_braces(name))
        for pair in pairs:
            key, value = split_pair(inside_braces(pair) if pair.startswith("{") else pair)
            content = read_value(value, environment, f"{kind}:{name}")
            if content is not None:
                values[key.casefold() if fold else key] = content
    except SyntaxFault as fault:
        raise TableError(f"{kind}:{name}: {fault}; expected {kind}:{{ name=value, ... }}") from fault
    if not pairs:
        raise TableError(f"{kind}:{name}: the table is empty; expected {kind}:{{ name=value, ... }}")
    return DictionaryTable(kind, name, fold, values)
