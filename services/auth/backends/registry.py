"""The words of auth_backends to backends. What a kind needs of other packages is imported here, when it is asked for,
before anything is confined.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import cast

from tubepost.common.config import Config

from tubepost.services.auth.backends.base import Backend
from tubepost.services.auth.hashing import Hasher

NETWORKED = frozenset({"ldap", "pgsql"})
"""Those that ask other hosts."""
_MODULES = {
    "accounts": "accounts",
    "passwd-file": "passwdfile",
    "pam": "pam",
    "passwd": "system",
    "ldap": "ldap",
    "pgsql": "pgsql",
    "saslauthd": "saslauthd",
    "dovecot": "dovecot",
    "authdaemond": "authdaemond",
    "static": "static",
}


def kind_of(word: str) -> str:
    return word.partition(":")[0]


def make(words: Sequence[str], config: Config, hasher: Hasher, parameter: str) -> list[Backend]:
    """Raises ConfigError: no such kind, or what it needs is not installed or not told."""
    found = []
    for word in words:
        kind, _, argument = word.partition(":")
        module = _MODULES.get(kind)
        if module is None:
            raise config.bad_value(parameter, f'there is no backend "{kind}": choose of {", ".join(sorted(_MODULES))}')
        try:
            loaded = importlib.import_module(f"tubepost.services.auth.backends.{module}")
        except ImportError as error:
            raise config.bad_value(parameter, f"{kind} needs a package that is not installed: {error.name}") from error
        maker = cast("Callable[[str, Config, Hasher], Backend]", loaded.make)
        try:
            found.append(maker(argument, config, hasher))
        except ValueError as error:
            raise config.bad_value(parameter, f"{word}: {error}") from error
    return found
