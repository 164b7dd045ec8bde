"""What a peer has sent and nobody has looked at yet, and its lines (pure): base of the machines that read commands."""


class Input:
    """``line_limit``: most octets of a line for ``next_line``, its line end not counted."""

    def __init__(self, line_limit: int) -> None:
        self._line_limit = line_limit
        self._buffer = b""
        self._position = 0
        self._dropping = False
        """A line that is too long is being thrown away, and its end has not come."""

    def receive(self, data: bytes) -> None:
        """Take in what the peer sent."""
        if self._position < len(self._buffer):
            self._buffer = self._buffer[self._position :] + data if self._position else self._buffer + data
        else:
            self._buffer = data
        self._position = 0

    @property
    def waiting_input(self) -> int:
        """Octets received and not looked at yet."""
        return len(self._buffer) - self._position

    def forget_input(self) -> None:
        """TLS begins, or the session is over: what came so far is nobody's (RFC 3207 4.2, RFC 2595 4)."""
        self._buffer = b""
        self._position = 0
        self._dropping = False

    def take_rest(self) -> bytes:
        """All that is there, for who reads something else than lines. Give back what is left in ``_buffer``."""
        data = self._buffer[self._position :] if self._position else self._buffer
        self._buffer = b""
        self._position = 0
        return data

    def next_line(self) -> bytes | None:
        """Without its line end, LF or CR LF. NUL alone for one that was too long; None: there is no whole line."""
        buffer, start, limit = self._buffer, self._position, self._line_limit
        newline = buffer.find(b"\n", start)
        if newline < 0:
            if self._dropping or len(buffer) - start > limit:
                self._dropping = True
                self._buffer = b""
                self._position = 0
            return None
        self._position = newline + 1
        if self._dropping or newline - start > limit:
            self._dropping = False
            # What is no command in any protocol, and no response to a challenge.
            return b"\0"
        return buffer[start : newline - 1 if newline > start and buffer[newline - 1] == 13 else newline]
