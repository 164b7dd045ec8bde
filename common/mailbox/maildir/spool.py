"""Room for a message on its way into a Maildir: a file without a name on the same file system."""

import os

from tubepost.common.mailbox.maildir.delivery import make_maildir, unique_name


def nameless_file(root: str) -> int:
    """A descriptor; the file is gone with it. Raises OSError."""
    make_maildir(root)
    folder = f"{root}/tmp"
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        # A file system that has no such files.
        path = f"{folder}/{unique_name(0)}"
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        os.unlink(path)
        return fd
