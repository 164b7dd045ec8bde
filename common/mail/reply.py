"""SMTP replies (RFC 5321 4.2) as values, the common ones by name, and their form on the wire."""

import re
from typing import Final, NamedTuple

LINE_LIMIT: Final = 512
"""Octets of a reply line with CRLF (RFC 5321 4.5.3.1.5)."""

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


class Reply(NamedTuple):
    """``code`` 200 to 599; ``enhanced`` an RFC 3463 code or empty; ``text`` one or, divided by LF, several lines."""

    code: int
    enhanced: str
    text: str

    def render(self) -> bytes:
        """The reply's lines with CRLF. A line too long goes on in the next; what cannot be printed becomes ``?``."""
        prefix = f"{self.code:03d}"
        # RFC 2034 4: the code stands in each line of a reply.
        status = f"{self.enhanced} " if self.enhanced else ""
        text = self.text
        if "\n" not in text and len(text) < 120 and text.isascii() and text.isprintable():
            return f"{prefix} {status}{text}\r\n".encode("ascii")
        room = LINE_LIMIT - len(prefix) - 1 - len(status) - 2
        lines: list[bytes] = []
        for line in _UNPRINTABLE.sub("?", text).split("\n"):
            lines.extend(_fit(line.encode("utf-8"), room))
        head = status.encode("ascii")
        code = prefix.encode("ascii")
        return b"".join(
            code + (b"-" if index < len(lines) - 1 else b" ") + head + line + b"\r\n"
            for index, line in enumerate(lines)
        )

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced} {self.text}" if self.enhanced else f"{self.code} {self.text}"


def _fit(line: bytes, room: int) -> list[bytes]:
    parts = []
    while len(line) > room:
        cut = line.rfind(b" ", 1, room + 1)
        if cut < 1:
            cut = room
            # Not within a UTF-8 sequence: back to a byte that starts one.
            while line[cut] & 0xC0 == 0x80:
                cut -= 1
        parts.append(line[:cut])
        line = line[cut:].lstrip(b" ")
    parts.append(line)
    return parts


OK: Final = Reply(250, "2.0.0", "Ok")
START_CONTENT: Final = Reply(354, "", "End data with <CR><LF>.<CR><LF>")
SHUTTING_DOWN: Final = Reply(421, "4.3.2", "Service shutting down and closing channel")
TIMED_OUT: Final = Reply(421, "4.4.2", "Error: timeout exceeded")
TRY_LATER: Final = Reply(451, "4.3.0", "Error: queue file write error")
NO_STORAGE: Final = Reply(452, "4.3.1", "Insufficient system storage")
TOO_MANY_RECIPIENTS: Final = Reply(452, "4.5.3", "Error: too many recipients")
UNKNOWN_COMMAND: Final = Reply(500, "5.5.2", "Error: command not recognized")
BAD_SYNTAX: Final = Reply(501, "5.5.4", "Syntax error")
NOT_IMPLEMENTED: Final = Reply(502, "5.5.1", "Error: command not implemented")
BAD_SEQUENCE: Final = Reply(503, "5.5.1", "Error: bad sequence of commands")
TOO_BIG: Final = Reply(552, "5.3.4", "Message size exceeds fixed limit")
NO_VALID_RECIPIENTS: Final = Reply(554, "5.5.1", "Error: no valid recipients")
