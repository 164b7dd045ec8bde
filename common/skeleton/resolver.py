"""The resolver of a program: its name servers and its filter of answers, from main.cf."""

from collections.abc import Iterable

from tubepost.common.config import Config
from tubepost.common.net.dns import FilterError, Resolver, parse_servers
from tubepost.common.tables import Maps, TableEnvironment, TableError


def make_resolver(config: Config, tables: TableEnvironment, specs: Iterable[str], title: str) -> Resolver:
    """One a program. ``specs``: of its ``…_dns_reply_filter``; ``title``: that parameter's name. Raises ConfigError."""
    try:
        servers = parse_servers(config.dns_nameservers)
    except ValueError as error:
        raise config.bad_value("dns_nameservers", str(error)) from None
    maps = Maps(specs, tables, title=title)

    async def keep(line: str) -> str | None:
        try:
            return await maps.lookup(line)
        except TableError as error:
            raise FilterError(f"{title}: {error}") from error

    return Resolver(servers, keep_negative=config.dns_ncache_ttl_fix_enable, keep=keep if maps else None)
