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
            try:
                loaded = importlib.import_module(f"tubepost.services.auth.backends.{_OPTIONAL[kind]}")
            except ImportError as error:
                reason = f"{kind} needs a package that is not installed: {error.name} (tubepost[{kind}])"
                raise config.bad_value(parameter, reason) from error
            maker = cast("Maker", loaded.make)
        try:
            found.append(maker(argument, config, hasher))
        except ValueError as error:
            raise config.bad_value(parameter, f"{word}: {error}") from error
    return found
