"""``type:name`` to an open table: the list of types, each with the module that knows it."""

import importlib
import importlib.util
from collections.abc import Callable
from typing import cast

from tubepost.common.tables.table import Broken, Table, TableEnvironment, TableError

# type: module. Modules are imported when first used: few installations use more than three.
_MODULES = {
    "accounts": "accounts",
    "cdb": "hash",
    "cidr": "cidr",
    "environ": "environ",
    "fail": "fail",
    "hash": "hash",
    "inline": "inline",
    "internal": "internal",
    "lmdb": "lmdb",
    "memcache": "memcache",
    "nis": "nis",
    "pcre": "pcre",
    "pipemap": "pipemap",
    "proxy": "proxy",
    "randmap": "randmap",
    "regexp": "regexp",
    "socketmap": "socketmap",
    "sqlite": "sqlite",
    "static": "static",
    "tcp": "tcp",
    "texthash": "texthash",
    "unionmap": "unionmap",
    "unix": "unix",
}

Opener = Callable[[str, str, TableEnvironment, bool], Table]
"""Each module has ``open_table(kind, name, environment, fold) -> Table``; raises TableError."""


def known_types() -> tuple[str, ...]:
    """Types that can be used here, sorted (postconf -m). lmdb is among them only when its package is installed."""
    return tuple(kind for kind in _MODULES if kind != "lmdb" or importlib.util.find_spec("lmdb") is not None)


def split_spec(spec: str, default_type: str) -> tuple[str, str]:
    """``hash:/etc/aliases`` to (type, name); a spec without a type has the default one."""
    kind, colon, name = spec.partition(":")
    if not colon:
        return default_type, spec
    return kind, name


def open_table(
    spec: str, *, environment: TableEnvironment, fold: bool = True, substitution: bool = True, strict: bool = False
) -> Table:
    """The table named by ``type:name``, shared with whoever opened it before through this environment.

    ``fold``: exact tables are asked for lower-case keys. ``substitution`` False: rules with ``$1`` in
    their value are dropped, as Postfix does for alias_maps and transport_maps. ``strict``: raise TableError
    when it cannot be opened (the commands); otherwise the fault is logged and each look-up raises it (the services, as
    Postfix's surrogates).
    """
    shared = environment.opened.get((spec, fold, substitution))
    if shared is not None and not (strict and isinstance(shared, Broken)):
        return shared
    kind, name = split_spec(spec, environment.default_type)

    def open_it() -> Table:
        table = _open(kind, name, environment, fold)
        if not substitution:
            table.forbid_substitution()
        return table

    table: Table
    try:
        table = open_it()
    except TableError as error:
        if strict:
            raise
        environment.warn(str(error))
        table = Broken(kind, name, str(error), open_it)
    environment.opened[spec, fold, substitution] = table
    return table


def _open(kind: str, name: str, environment: TableEnvironment, fold: bool) -> Table:
    module = _MODULES.get(kind)
    if module is None:
        raise TableError(f'{kind}:{name}: unsupported table type "{kind}": choose one of {", ".join(_MODULES)}')
    opener = cast(Opener, importlib.import_module(f"tubepost.common.tables.{module}").open_table)
    return opener(kind, name, environment, fold)
