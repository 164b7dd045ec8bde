"""Who owns the databases of the accounts, and that their directories are there."""

import contextlib
import os
import pwd
import stat

from tubepost.common.config.settings import Config

Owner = tuple[int, int]
# All that auth has in its directory.
_FILES = ("passwords.db", "passwords.db-journal", "secret")


def owner_of(config: Config, parameter: str) -> Owner | None:
    """(uid, gid) of the account that ``mail_owner``, ``protocol_owner`` or ``auth_owner`` names.

    None without root, when files are ours.

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


def is_apart(config: Config) -> bool:
    """Have the programs that own nothing an account of their own?"""
    return bool(config.protocol_owner) and config.protocol_owner != config.mail_owner


def bus_group(config: Config) -> int | None:
    """gid of those who may enter ``private`` and knock there, besides mail_owner; None: nobody, or no root.

    Raises ConfigError.
    """
    owner = owner_of(config, "protocol_owner") if is_apart(config) else None
    return owner[1] if owner is not None else None


def make_directories(config: Config) -> None:
    """accounts_directory, which all programs may read, and auth_directory, which is auth's, whoever that is now.

    Raises OSError, ConfigError.
    """
    for path, mode, parameter in (
        (config.accounts_directory, 0o755, "mail_owner"),
        (config.auth_directory, 0o700, "auth_owner"),
    ):
        owner = owner_of(config, parameter)
        if not os.path.isdir(path):
            os.makedirs(path, mode)
            os.chmod(path, mode)
            if owner:
                os.chown(path, *owner)
        elif owner and parameter == "auth_owner":
            hand_over(path, owner)


def hand_over(path: str, owner: Owner) -> None:
    """The directory of passwords, and them, to who auth_owner is since the configuration was changed. As root; another
    directory, that was named by mistake, stays as it is. Raises OSError.
    """
    folder = os.open(os.path.realpath(path), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(folder)
        names = os.listdir(folder)
        if found.st_uid == owner[0] or stat.S_IMODE(found.st_mode) != 0o700 or not set(names) <= set(_FILES):
            return
        # First the directory: from then on nobody else can put links to others' files into it.
        os.fchown(folder, *owner)
        for name in os.listdir(folder):
            # What is gone, or is a link: auth will say what it lacks.
            with contextlib.suppress(OSError):
                file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
                try:
                    here = os.fstat(file)
                    if stat.S_ISREG(here.st_mode) and here.st_nlink == 1 and here.st_uid == found.st_uid:
                        os.fchown(file, *owner)
                finally:
                    os.close(file)
    finally:
        os.close(folder)
