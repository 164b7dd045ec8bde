"""The same bare client for both servers: a socket, a tag, and reading up to the tagged answer."""

import re
import socket

_LITERAL = re.compile(rb"\{(\d+)\}\r\n\Z")


class Imap:
    """``run`` sends a command and gives all that came, up to its tagged line. Raises AssertionError unless it is OK."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._number = 0
        self._rest = b""
        self._greeting()
        self.run(f"LOGIN {user} {password}".encode())

    def _greeting(self) -> None:
        while b"\r\n" not in self._rest:
            self._rest += self.socket.recv(65536)
        self._rest = b""

    def run(self, command: bytes) -> bytes:
        self._number += 1
        tag = b"t%d" % self._number
        self.socket.sendall(tag + b" " + command + b"\r\n")
        return self._answer(tag)

    def append(self, mailbox: bytes, message: bytes) -> bytes:
        """With a literal that needs no leave (LITERAL+), so that both have one round trip."""
        self._number += 1
        tag = b"t%d" % self._number
        self.socket.sendall(b"%b APPEND %b {%d+}\r\n%b\r\n" % (tag, mailbox, len(message), message))
        return self._answer(tag)

    def _answer(self, tag: bytes) -> bytes:
        """The end is looked for at the end of what came: the mail itself has no line that begins with the tag."""
        pieces = [self._rest]
        tail = self._rest
        begun = b"\r\n" + tag + b" "
        first = tag + b" "
        while True:
            if tail.endswith(b"\r\n"):
                place = tail.rfind(begun)
                start = place + 2 if place >= 0 else 0 if len(pieces) <= 2 and tail.startswith(first) else -1
                if start >= 0:
                    line = tail[start:]
                    assert line.startswith(tag + b" OK"), line[:200]
                    self._rest = b""
                    return b"".join(pieces)
            data = self.socket.recv(262144)
            assert data, "the server hung up"
            pieces.append(data)
            tail = tail[-512:] + data if len(data) < 512 else data

    def close(self) -> None:
        self.run(b"LOGOUT")
        self.socket.close()


class Pop3:
    """``run`` for one-line answers, ``retrieve`` for messages."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self.socket.makefile("rb", 262144)
        self._file.readline()
        self.run(b"USER " + user.encode())
        self.run(b"PASS " + password.encode())

    def run(self, command: bytes) -> bytes:
        self.socket.sendall(command + b"\r\n")
        line = self._file.readline()
        assert line.startswith(b"+OK"), line
        return line

    def retrieve(self, number: int) -> int:
        self.run(b"RETR %d" % number)
        size = 0
        while (line := self._file.readline()) != b".\r\n":
            size += len(line)
        return size

    def close(self) -> None:
        self.run(b"QUIT")
        self.socket.close()
