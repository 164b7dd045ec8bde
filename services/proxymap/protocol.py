"""Which tables may be asked and written. Pure. Source: Postfix proxymap(8), proxy_read_maps, proxy_write_maps."""

from collections.abc import Iterable

PREFIX = "proxy:"


def approved(items: Iterable[str]) -> frozenset[str]:
    """``type:name`` of each ``proxy:type:name``; other items of the parameters that the list names do not count.

    Items inside ``unionmap:{ … }`` and ``pipemap:{ … }`` do: the braces and commas around them are taken off.
    """
    tables = set()
    for item in items:
        for word in item.replace(",", " ").split() if PREFIX in item[1:] else (item,):
            word = word.lstrip("{!")
            position = word.find(PREFIX)
            # unionmap:{proxy:hash:/x  and  check_client_access-style words keep something before it.
            if position == 0 or (position > 0 and word[position - 1] in "{,"):
                table = word[position + len(PREFIX) :].rstrip("}")
                if ":" in table:
                    tables.add(table)
    return frozenset(tables)


def refusal(table: str, parameter: str) -> str:
    """Why a table that is not in the list is refused."""
    return (
        f'request for unapproved table "{table:.200}": to approve this table for access, list {PREFIX}{table:.200} '
        f"in {parameter}"
    )
