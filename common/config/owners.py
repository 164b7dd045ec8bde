"""Who owns the databases of the accounts, and that their directories are there."""

import os
import pwd

from tubepost.common.config.settings import Config

Owner = tuple[int, int]


def owner_of(config: Config, parameter: str) -> Owner | None:
    """(uid, gid) of the account that ``mail_owner`` or ``auth_owner`` names; None without root, when files are ours.

    Raises ConfigError.
    """
    if os.geteuid() != 0:
        return None
    name = config.get(parameter) or config.mail_owner
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        raise config.bad_value(parameter, f"there is no account {name}") from None
    return account.pw_uid, account.pw_gid


def make_directories(config: Config) -> None:
    """accounts_directory, which all programs may read, and auth_directory, which is auth's. Raises OSError,
    ConfigError.
    """
    for path, mode, parameter in (
        (config.accounts_directory, 0o755, "mail_owner"),
        (config.auth_directory, 0o700, "auth_owner"),
    ):
        if os.path.isdir(path):
            continue
        os.makedirs(path, mode)
        os.chmod(path, mode)
        if owner := owner_of(config, parameter):
            os.chown(path, *owner)
