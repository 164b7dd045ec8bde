"""The table environment of a program: its configuration's default type, and ``proxy:`` tables through proxymap."""

from tubepost.common.wire.proxymap import Delete, Done, Found, Lookup, Update
from tubepost.common.system import log
from tubepost.common.bus.errors import BusError
from tubepost.common.tables import TableEnvironment, TableError
from tubepost.common.skeleton.process import Process


def table_environment(process: Process) -> TableEnvironment:
    """One a program: what is opened through it is shared within the program. Close it at the end."""

    async def ask(table: str, key: str) -> str | None:
        try:
            found = await process.client(process.config.proxymap_service_name).call(
                Lookup(table=table, key=key), reply=Found
            )
        except BusError as error:
            raise TableError(f"proxy:{table}: {error}") from error
        return found.value

    async def write(table: str, key: str, value: str | None) -> None:
        client = process.client(process.config.proxywrite_service_name)
        try:
            if value is None:
                await client.call(Delete(table=table, key=key), reply=Done)
            else:
                await client.call(Update(table=table, key=key, value=value), reply=Done)
        except BusError as error:
            raise TableError(f"proxy:{table}: {error}") from error

    return TableEnvironment(
        config_directory=process.birth.config_directory,
        accounts_directory=process.config.accounts_directory,
        default_type=process.config.default_database_type,
        proxy=ask,
        proxy_write=write,
        warn=log.warning,
    )
