"""Several tables asked in order, the first hit wins (Postfix: a parameter that takes ``type:table`` names).

Searches that ask several keys are written as *steps*: generators that yield a Question and are sent the answer. They
run with ``run`` (awaiting) or ``run_now`` (tables of this machine only), and are pure themselves.
"""

from collections.abc import Generator, Iterable
from typing import TypeVar

from tubepost.common.tables.registry import open_table
from tubepost.common.tables.table import Table, TableEnvironment, TableError
from tubepost.common.tables.words import split_list

T = TypeVar("T")
Question = tuple[Table, str]
Steps = Generator[Question, str | None, T]


def run_now(steps: Steps[T]) -> T:
    """Run a search whose tables are all immediate. Raises TableError."""
    answer: str | None = None
    try:
        table, key = next(steps)
        while True:
            try:
                answer = table.find(key)
            except TableError as error:
                # The search may know what to do without this answer.
                table, key = steps.throw(error)
            else:
                table, key = steps.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def run(steps: Steps[T]) -> T:
    """Run a search, awaiting where a table needs it. Raises TableError."""
    try:
        table, key = next(steps)
        while True:
            try:
                answer = table.find(key) if table.immediate else await table.lookup(key)
            except TableError as error:
                table, key = steps.throw(error)
            else:
                table, key = steps.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result


class Maps:
    """The tables of one parameter. False when there are none."""

    __slots__ = ("immediate", "tables", "title")

    def __init__(
        self,
        specs: str | Iterable[str],
        environment: TableEnvironment,
        *,
        title: str = "",
        fold: bool = True,
        substitution: bool = True,
    ) -> None:
        """``specs``: ``type:name`` items, or the text of the parameter. ``title``: its name, for messages.

        ``fold``: ask exact tables for lower-case keys. ``substitution``: see ``open_table``. A table
        that cannot be opened defers each look-up that gets to it (see ``table.Broken``).
        """
        items = split_list(specs) if isinstance(specs, str) else list(specs)
        self.title = title
        self.tables = tuple(
            open_table(item, environment=environment, fold=fold, substitution=substitution) for item in items
        )
        self.immediate = all(table.immediate for table in self.tables)

    def __bool__(self) -> bool:
        return bool(self.tables)

    def search(self, key: str, partial: bool = False) -> Steps[str | None]:
        """Steps for one key. ``partial``: the key is a part of an address or name: tables of patterns are passed over.

        An empty key is never asked. An empty answer is a mistake in the table: TableError, as in Postfix.
        """
        if not key:
            return None
        for table in self.tables:
            if partial and table.patterned:
                continue
            value = yield table, key
            if value is None:
                continue
            if not value:
                raise TableError(
                    f'{self.title or table.spec}: looking up "{key}" in {table.spec} gives an empty string; '
                    "a key that is not to be found must not be in the table"
                )
            return value
        return None

    async def lookup(self, key: str, partial: bool = False) -> str | None:
        """The first value for this key, or None. Raises TableError: no later table is then asked."""
        return await run(self.search(key, partial))

    def find(self, key: str, partial: bool = False) -> str | None:
        """As ``lookup``, without waiting; only when ``immediate``."""
        if len(self.tables) == 1 and key:
            # The common case, without a generator: header checks run this for each line of a header.
            table = self.tables[0]
            if partial and table.patterned:
                return None
            value = table.find(key)
            if value != "":
                return value
        return run_now(self.search(key, partial))
