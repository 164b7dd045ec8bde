"""Users and groups of this system, from files or from a directory service (nsswitch.conf(5)).

Python's pwd and grp say that there is no such user also when nobody could tell; mail would be returned for that. So who
is not found is asked for once more, in a way that tells the two apart.
"""

import ctypes
import errno
import grp
import os
import pwd
from collections.abc import Callable
from typing import TypeVar

_libc = ctypes.CDLL(None, use_errno=True)
# What systems say of a user that there is not (getpwnam_r(3)).
_NONE = frozenset({0, errno.ENOENT, errno.ESRCH, errno.EBADF, errno.EPERM})
# More than the C library's struct passwd and struct group; texts that are no longer than most.
_STRUCT, _TEXTS = 256, 16_384

Key = TypeVar("Key", str, int)
Entry = TypeVar("Entry")


# For this process: its descriptors may be used up, or the disk fail.
_FILES = {"getpwnam_r": "/etc/passwd", "getpwuid_r": "/etc/passwd", "getgrnam_r": "/etc/group"}


def user(name: str) -> pwd.struct_passwd | None:
    """None: nobody has this name. Raises OSError when that cannot be told now."""
    return _find(pwd.getpwnam, "getpwnam_r", name)


def user_by_id(uid: int) -> pwd.struct_passwd | None:
    """As ``user``."""
    return _find(pwd.getpwuid, "getpwuid_r", uid) if 0 <= uid < 1 << 32 else None


def group(name: str) -> grp.struct_group | None:
    """As ``user``."""
    return _find(grp.getgrnam, "getgrnam_r", name)


def _find(look: Callable[[Key], Entry], function: str, key: Key) -> Entry | None:
    try:
        return look(key)
    except ValueError:  # NUL, a lone surrogate
        return None
    except KeyError:
        pass
    given = ctypes.c_uint(key) if isinstance(key, int) else ctypes.c_char_p(os.fsencode(key))
    found = ctypes.c_void_p()
    code = getattr(_libc, function)(
        given,
        ctypes.create_string_buffer(_STRUCT),
        ctypes.create_string_buffer(_TEXTS),
        ctypes.c_size_t(_TEXTS),
        ctypes.byref(found),
    )
    if code not in _NONE:
        raise OSError(code, os.strerror(code))
    if found:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))  # it has come back meanwhile
    try:
        os.close(os.open(_FILES[function], os.O_RDONLY | os.O_CLOEXEC))
    except FileNotFoundError:
        pass
    return None
