"""``proxy:type:name``: the table is opened by the proxymap service and asked through it."""

from tubepost.common.tables.codec import encode_key
from tubepost.common.tables.table import PATTERNED, ProxyAsk, ProxyWrite, Table, TableEnvironment, TableError


class ProxyTable(Table):
    __slots__ = ("_proxy", "_write", "patterned", "writable")
    immediate = False

    def __init__(self, kind: str, name: str, fold: bool, proxy: ProxyAsk, write: ProxyWrite | None) -> None:
        self.patterned = name.partition(":")[0] in PATTERNED
        self.writable = write is not None
        super().__init__(kind, name, fold)
        self._proxy = proxy
        self._write = write

    async def _ask(self, key: str) -> str | None:
        if encode_key(key) is None:
            # In other bytes than UTF-8: no key of a table; but patterns (header_checks) may see the rest of it.
            if not self.patterned:
                return None
            key = key.encode("utf-8", "replace").decode()
        return await self._proxy(self.name, key)

    async def update(self, key: str, value: str) -> None:
        if self._write is None:
            raise TableError(f"{self.spec}: this program may not write to tables")
        await self._write(self.name, key.casefold() if self.fold else key, value)

    async def delete(self, key: str) -> bool:
        """True: the service does not say whether the key was there."""
        if self._write is None:
            raise TableError(f"{self.spec}: this program may not write to tables")
        await self._write(self.name, key.casefold() if self.fold else key, None)
        return True


def open_table(kind: str, name: str, environment: TableEnvironment, fold: bool) -> Table:
    """See registry.Opener."""
    if ":" not in name:
        raise TableError(f"{kind}:{name}: expected {kind}:type:name")
    if environment.proxy is None:
        raise TableError(f"{kind}:{name}: this program cannot ask the proxymap service")
    return ProxyTable(kind, name, fold, environment.proxy, environment.proxy_write)
