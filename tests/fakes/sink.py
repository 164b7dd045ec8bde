"""An SMTP and LMTP server that keeps every byte it is sent, in threads of its own.

It finds the end of data by the RFC alone: what a lax one would have found is for the test to look for in ``data``.
"""

import socket
import threading
from typing import Self


class Sink:
    """``keywords``: of its EHLO reply. ``messages``: (sender, recipients, what came behind 354 up to the end)."""

    def __init__(
        self, keywords: tuple[str, ...] = ("PIPELINING", "8BITMIME", "SMTPUTF8", "DSN"), port: int = 0
    ) -> None:
        self.keywords = keywords
        self.messages: list[tuple[str, list[str], bytes]] = []
        self.commands: list[bytes] = []
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._listener.close()

    def wait(self, count: int, timeout: float = 60) -> list[tuple[str, list[str], bytes]]:
        """Once so many messages are here. Raises AssertionError."""
        with self._changed:
            came = self._changed.wait_for(lambda: len(self.messages) >= count, timeout)
            assert came, f"{len(self.messages)} of {count} messages came"
            return list(self.messages)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._session, args=(client,), daemon=True).start()

    def _session(self, client: socket.socket) -> None:
        with client, client.makefile("rb") as lines:
            try:
                self._converse(client, lines)
            except OSError:
                pass

    def _converse(self, client: socket.socket, lines: "object") -> None:
        readline, read = lines.readline, lines.read  # type: ignore[attr-defined]
        client.sendall(b"220 sink ESMTP\r\n")
        sender, recipients, lmtp = "", list[str](), False
        while line := readline():
            self.hear(line)
            verb = line[:4].upper()
            if verb in (b"EHLO", b"LHLO"):
                lmtp = verb == b"LHLO"
                said = ["250-sink", *(f"250-{keyword}" for keyword in self.keywords), "250 HELP"]
                client.sendall("\r\n".join(said).encode() + b"\r\n")
                continue
            if verb == b"MAIL":
                sender, recipients = line.decode("utf-8", "replace").split("<")[1].split(">")[0], []
            elif verb == b"RCPT":
                recipients = [*recipients, line.decode("utf-8", "replace").split("<")[1].split(">")[0]]
            elif verb == b"DATA":
                client.sendall(b"354 go\r\n")
                pieces = [b"\r\n"]
                while not (pieces[-1] == b".\r\n" and pieces[-2].endswith(b"\r\n")):
                    piece = readline()
                    if not piece:
                        return
                    pieces.append(piece)
                self.keep(sender, recipients, b"".join(pieces[:-1]))
                # RFC 2033 4.2: one reply for each recipient.
                client.sendall(b"250 ok\r\n" * (len(recipients) - 1 if lmtp else 0))
            elif verb == b"BDAT":
                self.keep(sender, recipients, read(int(line.split()[1])))
            elif verb == b"QUIT":
                client.sendall(b"221 bye\r\n")
                return
            client.sendall(self.answer(verb, line))

    def hear(self, line: bytes) -> None:
        """A command, as it came."""
        with self._changed:
            self.commands.append(line)

    def answer(self, verb: bytes, line: bytes) -> bytes:
        """What is said to a command, and at the end of a message."""
        return b"250 ok\r\n"

    def keep(self, sender: str, recipients: list[str], data: bytes) -> None:
        with self._changed:
            self.messages.append((sender, recipients, data))
            self._changed.notify_all()
