"""Ask a running master: one line of question, one JSON value in answer, over a UNIX socket in ``pid/``."""

import contextlib
import fcntl
import json
import os
import socket
import struct
from typing import Any

NAME, LOCK = "master.sock", "master.pid"
# struct flock: type, whence, start, length, process id.
_FLOCK = "hhqqi4x"


def master_pid(directory: str) -> int:
    """Of the running master, as the kernel knows the holder of its lock; 0 when none runs. ``directory`` as in ``ask``.

    No lock is taken, that a master which is about to start would meet, and no number is read, that a dead one left.
    """
    with contextlib.suppress(FileNotFoundError), open(os.path.join(directory, LOCK), "rb") as file:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
        return int(pid) if kind != fcntl.F_UNLCK else 0
    return 0


def ask(directory: str, verb: str, timeout: float = 5.0) -> Any:
    """``directory``: process_id_directory. ``verb``: status, ready. Raises OSError when there is none, ValueError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(os.path.join(directory, NAME))
        connection.sendall(verb.encode() + b"\n")
        connection.shutdown(socket.SHUT_WR)
        data = b""
        while piece := connection.recv(65_536):
            data += piece
    return json.loads(data)
