"""Lookup tables as a program opens them: ``proxy:`` tables through the proxymap service."""

from tubepost.common.wire.proxymap import Found, Lookup
from tubepost.common.bus import BusError
from tubepost.common.tables import TableEnvironment, TableError
from tubepost.common.skeleton.process import Process


def environment(process: Process) -> TableEnvironment:
    """One a program: tables that several parameters name are opened once."""
    config = process.config
    client = process.client(config.proxymap_service_name)

    async def ask(table: str, key: str) -> str | None:
        try:
            return (await client.call(Lookup(table=table, key=key), Found)).value
        except BusError as error:
            raise TableError(f"proxy:{table}: {error}") from error

    return TableEnvironment(
        config_directory=process.birth.config_directory, default_type=config.default_database_type, proxy=ask
    )
