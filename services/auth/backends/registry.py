"""The words of auth_backends to backends. Those that need a package of their own are imported when asked for."""

import importlib
from collections.abc import Callable, Sequence
from typing import cast

from tubepost.common.config import Config

from tubepost.services.auth.backends import accounts, authdaemond, dovecot, pam, passwdfile, saslauthd, static, system
from tubepost.services.auth.backends.base import Backend
from tubepost.services.auth.hashing import Hasher

Maker = Callable[[str, Config, Hasher], Backend]
_MAKERS: dict[str, Maker] = {
    "accounts": accounts.make,
    "passwd-file": passwdfile.make,
    "pam": pam.make,
    "passwd": system.make,
    "saslauthd": saslauthd.make,
    "dovecot": dovecot.make,
    "authdaemond": authdaemond.make,
    "static": static.make,
}
_OPTIONAL = {"ldap": "ldap", "pgsql": "pgsql"}


def prepare(config: Config) -> None:
    """Import what this configuration needs, before the program is confined: it may not be able to read it afterwards.

    Raises ConfigError: a package is not installed.
    """
    for parameter in ("auth_backends", "auth_master_backends"):
        for word in config.get(parameter):
            if (kind := word.partition(":")[0]) in _OPTIONAL:
                _load(kind, config, parameter)


def _load(kind: str, config: Config, parameter: str) -> Maker:
    try:
        loaded = importlib.import_module(f"tubepost.services.auth.backends.{_OPTIONAL[kind]}")
    except ImportError as error:
        reason = f"{kind} needs a package that is not installed: {error.name} (tubepost[{kind}])"
        raise config.bad_value(parameter, reason) from error
    return cast("Maker", loaded.make)


def make(words: Sequence[str], config: Config, hasher: Hasher, parameter: str) -> list[Backend]:
    """Raises ConfigError: no such kind, or what it needs is not installed or not told."""
    found = []
    for word in words:
        kind, _, argument = word.partition(":")
        maker = _MAKERS.get(kind)
        if maker is None:
            if kind not in _OPTIONAL:
                names = ", ".join(sorted([*_MAKERS, *_OPTIONAL]))
                raise config.bad_value(parameter, f'there is no backend "{kind}": choose of {names}')
            maker = _load(kind, config, parameter)
        try:
            found.append(maker(argument, config, hasher))
        except ValueError as error:
            raise config.bad_value(parameter, f"{word}: {error}") from error
    return found
