"""What ``tubepost check`` finds beyond bad values: restrictions and tables that do not exist or cannot be read."""

from collections.abc import Iterator

from tubepost.common.config import Config, ConfigError, Fault, restrictions
from tubepost.common.config.declare import Maps, Restrictions
from tubepost.common.config.settings import DECLARED
from tubepost.common.tables import registry
from tubepost.common.tables.table import TableEnvironment, TableError
from tubepost.common.tables.words import SyntaxFault, split_list

# Read from files or from their own text: opening them asks no other system.
_LOCAL = frozenset(
    {"accounts", "texthash", "hash", "cdb", "lmdb", "cidr", "pcre", "regexp", "inline", "static", "randmap"}
)


def table_faults(config: Config) -> Iterator[Fault]:
    """Of every table that a setting names. A type that does not exist is an error; a table that cannot be opened now
    defers mail until it can, and may be built after this: a warning.
    """
    said: list[str] = []
    environment = TableEnvironment(
        config_directory=config.config_directory,
        accounts_directory=config.accounts_directory,
        default_type=config.default_database_type,
        warn=said.append,
    )
    known = registry.known_types()
    try:
        for name, spec in _named_tables(config):
            place = config.place(name)
            kind, _ = registry.split_spec(spec, config.default_database_type)
            if kind not in known:
                yield Fault(*place, name, f'there is no table type "{kind}" in {spec}; "postconf -m" lists them')
                continue
            if kind not in _LOCAL:
                continue
            try:
                registry.open_table(spec, environment=environment, strict=True)
            except TableError as error:
                said.append(str(error))
            yield from (Fault(*place, name, reason, "warning") for reason in said)
            said.clear()
    finally:
        environment.close()


def _named_tables(config: Config) -> Iterator[tuple[str, str]]:
    """(parameter, ``type:table``) of those that are set."""
    for name in config.explicit:
        parameter = DECLARED.get(name)
        try:
            if isinstance(parameter, Maps):
                yield from ((name, spec) for spec in config.get(name))
            elif _is_list(config, name):
                yield from ((name, spec) for spec in restrictions.tables(split_list(config.raw(name) or "")))
        except (ConfigError, SyntaxFault):
            continue  # told of by Config.check


def restriction_faults(config: Config) -> Iterator[Fault]:
    """Of smtpd's lists and restriction classes: smtpd refuses all mail for now when it meets such a word."""
    for name in config.explicit:
        if not _is_list(config, name):
            continue
        try:
            words = split_list(config.raw(name) or "")
        except ConfigError:
            continue
        except SyntaxFault as fault:
            yield Fault(*config.place(name), name, str(fault))
            continue
        for reason in restrictions.mistakes(words, lambda word: word in _classes(config)):
            yield Fault(*config.place(name), name, reason)


def _is_list(config: Config, name: str) -> bool:
    return isinstance(DECLARED.get(name), Restrictions) or name in _classes(config)


def _classes(config: Config) -> frozenset[str]:
    return frozenset(config.raw_or_empty("smtpd_restriction_classes").replace(",", " ").split())
