"""An SMTP or LMTP server that takes all mail, or hangs at a stage; a thread a connection.

with Sink() as sink: … sink.port … sink.messages
with Sink(hang="RCPT") as sink: …       # or another of STAGES; CONNECT: connections are not even accepted
… sink.hung.wait()                      # until somebody came that far; not for CONNECT
"""

import socket
import threading
from typing import Self

# HANDSHAKE: after the yes to STARTTLS; CHALLENGE: after the answer to the first one of an AUTH exchange.
STAGES = (
    *("CONNECT", "BANNER", "EHLO", "STARTTLS", "HANDSHAKE", "AUTH", "CHALLENGE"),
    *("MAIL", "RCPT", "DATA", "CONTENT", "DOT", "RSET", "QUIT"),
)
LMTP_STAGES = ("LHLO", "DOT")
_OFFERS = {
    "STARTTLS": b"250-STARTTLS\r\n",
    "HANDSHAKE": b"250-STARTTLS\r\n",
    "AUTH": b"250-AUTH PLAIN\r\n",
    "CHALLENGE": b"250-AUTH LOGIN\r\n",
}


class Sink:
    def __init__(self, hang: str = "", host: str = "127.0.0.1", port: int = 0) -> None:
        self.messages: list[bytes] = []
        self.hung = threading.Event()
        self._hang = hang
        self._ending = threading.Event()
        self._socket = socket.create_server((host, port), backlog=0 if hang == "CONNECT" else 64)
        self.port: int = self._socket.getsockname()[1]
        self._full: list[socket.socket] = []
        if hang == "CONNECT":
            # A backlog that is full: the kernel answers no more.
            for _ in range(4):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex((host, self.port))
                self._full.append(filler)
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        if self._hang != "CONNECT":
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        if self._hang != "CONNECT":
            socket.create_connection(self._socket.getsockname()[:2], 5).close()
            self._thread.join(5)
        for one in (*self._full, self._socket):
            one.close()

    def _accept(self) -> None:
        while not self._ending.is_set():
            connection, _ = self._socket.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                self._talk(connection)
            except OSError:
                pass

    def _at(self, stage: str) -> None:
        if stage == self._hang:
            self.hung.set()
            self._ending.wait(60)
            raise ConnectionResetError

    def _talk(self, connection: socket.socket) -> None:
        self._at("BANNER")
        connection.sendall(b"220 sink.test ESMTP\r\n")
        lines = connection.makefile("rb")
        while line := lines.readline(2000):
            verb = line.split()[0].upper().decode() if line.split() else ""
            self._at(verb)
            if verb in ("EHLO", "LHLO"):
                more = _OFFERS.get(self._hang, b"")
                connection.sendall(b"250-sink.test\r\n" + more + b"250 SIZE\r\n")
            elif verb == "STARTTLS":
                connection.sendall(b"220 2.0.0 go on\r\n")
                self._at("HANDSHAKE")
            elif verb == "AUTH":
                connection.sendall(b"334 VXNlcm5hbWU6\r\n")
                lines.readline(2000)
                self._at("CHALLENGE")
            elif verb == "DATA":
                connection.sendall(b"354 go on\r\n")
                self._at("CONTENT")
                content = []
                while (part := lines.readline(2000)) and part != b".\r\n":
                    content.append(part)
                self._at("DOT")
                self.messages.append(b"".join(content))
                connection.sendall(b"250 2.0.0 taken\r\n")
            elif verb == "QUIT":
                connection.sendall(b"221 bye\r\n")
                return
            else:
                connection.sendall(b"250 2.0.0 ok\r\n")
