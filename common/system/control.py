"""Ask a running master: one line of question, one JSON value in answer, over a UNIX socket in ``pid/``."""

import json
import os
import socket
from typing import Any

NAME = "master.sock"


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
