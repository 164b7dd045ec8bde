"""The directories of a queue, who owns them and who may enter: made at start, checked by ``tubepost check``."""

import os
import stat
from typing import NamedTuple


class Directory(NamedTuple):
    path: str
    mode: int
    owner: str
    """mail_owner or root."""
    group: str = ""
    """setgid_group or empty."""


# Postfix's modes but for two: a Python program cannot be set-gid, so anybody may add a file to maildrop (sticky, not
# listable; pickup checks owner and links), and knock at the public sockets: who may ask what there is decided by the
# callee, which knows the caller by the kernel's word (common/wire/programs.py).
LAYOUT = (
    Directory(".", 0o755, "root"),
    Directory("pid", 0o755, "root"),
    Directory("maildrop", 0o1733, "mail_owner", "setgid_group"),
    Directory("public", 0o711, "mail_owner", "setgid_group"),
    Directory("private", 0o700, "mail_owner"),
    *(
        Directory(name, 0o700, "mail_owner")
        for name in ("incoming", "active", "deferred", "hold", "corrupt", "bounce", "defer", "trace", "flush", "saved")
    ),
)


def create(root: str, uid: int, gid: int, maildrop_gid: int, bus_gid: int | None = None) -> list[str]:
    """Make what is missing below ``root``; as root give it to its owner (``uid`` of mail_owner). Returns what was made.

    ``bus_gid``: the group of protocol_owner, which may then enter ``private``; and what smtp reads, ``active``, is open
    to mail_owner's group, in which it is. Raises OSError.
    """
    privileged = os.geteuid() == 0
    made = []
    for path, mode, owner, group in LAYOUT:
        full = os.path.normpath(os.path.join(root, path))
        if not os.path.isdir(full):
            os.makedirs(full, 0o700)
            made.append(full)
            if privileged:
                os.chown(full, uid if owner == "mail_owner" else 0, maildrop_gid if group else gid if uid else 0)
            os.chmod(full, mode)
    own(os.path.join(root, "private"), 0o710, uid, gid, bus_gid)
    own(os.path.join(root, "active"), 0o750, uid, gid, gid if bus_gid is not None else None)
    return made


def own(path: str, shared: int, uid: int, gid: int, group: int | None) -> None:
    """As root: a directory of mail_owner's is shared with ``group`` by mode ``shared``; if there is none, no longer.

    Raises OSError.
    """
    if os.geteuid() != 0:
        return
    if group is not None:
        os.chown(path, uid, group)
        os.chmod(path, shared)
    elif stat.S_IMODE(os.stat(path).st_mode) == shared:
        os.chown(path, uid, gid)
        os.chmod(path, 0o700)


def check(root: str, uid: int, maildrop_gid: int) -> list[str]:
    """What is wrong with the directories, in words that say what to do. Without root only existence and modes.

    Nothing is wrong with a queue that was never started: the first start makes the directories.
    """
    faults = []
    privileged = os.geteuid() == 0
    if os.path.isdir(root) and not any(os.path.lexists(os.path.join(root, path)) for path, *_ in LAYOUT if path != "."):
        return []
    for path, mode, owner, group in LAYOUT:
        full = os.path.normpath(os.path.join(root, path))
        try:
            found = os.stat(full)
        except OSError as error:
            faults.append(f"{full}: {error.strerror}; it is made at the next start")
            continue
        if not stat.S_ISDIR(found.st_mode):
            faults.append(f"{full}: not a directory; remove it")
        elif stat.S_IMODE(found.st_mode) & ~mode & 0o022:
            faults.append(f"{full}: others may write here; run chmod {mode:o} {full}")
        elif privileged and owner == "mail_owner" and found.st_uid != uid:
            faults.append(f"{full}: belongs to uid {found.st_uid}, not to mail_owner; run chown {uid} {full}")
        elif privileged and group and found.st_gid != maildrop_gid:
            faults.append(f"{full}: its group is {found.st_gid}, not setgid_group; run chgrp {maildrop_gid} {full}")
    return faults
