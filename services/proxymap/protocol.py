"""Which tables may be asked and written. Pure. Source: Postfix proxymap(8), proxy_read_maps, proxy_write_maps."""

from collections.abc import Iterable

PREFIX = "proxy:"


def approved(items: Iterable[str]) -> frozenset[str]:
    """``type:name`` of each ``proxy:type:name``; other items of the parameters that the list names do not count.

    Items inside ``unionmap:{ … }`` and ``pipemap:{ … }`` do: the braces and commas around them are taken off.
    """
    tables = set()
    for item in items:
        item = item.lstrip("!")
        if item.startswith(PREFIX):
            words = [item]
        elif "{" in item:
            # unionmap:{proxy:hash:/x, proxy:hash:/y}
            words = item.partition("{")[2].replace("{", " ").replace("}", " ").replace(",", " ").split()
        else:
            continue
        for word in words:
            table = word.removeprefix(PREFIX)
            if table != word and ":" in table:
                tables.add(table)
    return frozenset(tables)


def refusal(table: str, parameter: str) -> str:
    """Why a table that is not in the list is refused."""
    return (
        f'request for unapproved table "{table:.200}": to approve this table for access, list {PREFIX}{table:.200} '
        f"in {parameter}"
    )
