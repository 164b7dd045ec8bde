"""What was said on a connection, for the postmaster, and what the server did wrong. Pure."""

from collections import deque

from tubepost.common.smtp.replies import Reply

from tubepost.services.smtp.stages import Stage

# The end of a long session tells what went wrong.
_LINES = 200
_LINE = 500
# A server's reply has up to 1000 lines.
_REPLY_LINES = 20


class Transcript:
    """``troubles``: classes as in notify_classes: protocol, the server's doing; data, our own."""

    __slots__ = ("lines", "troubles")

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=_LINES)
        self.troubles: set[str] = set()

    def said(self, stage: Stage, command: bytes) -> None:
        """A command of ours, with its CR LF."""
        text = command.decode("utf-8", "replace").rstrip("\r\n")
        if stage is Stage.AUTH:
            # A password is nobody's to read; the mechanism's name is no secret.
            words = text.split(" ")
            text = " ".join((*words[:2], *["(secret)"] * (len(words) > 2))) if words[0] == "AUTH" else "(secret)"
        self.lines.append(f"Out: {text[:_LINE]}")

    def heard(self, reply: Reply) -> None:
        """A reply of the server's."""
        lines = reply.lines[-_REPLY_LINES:]
        last = len(lines) - 1
        for index, line in enumerate(lines):
            self.lines.append(f"In:  {reply.code}{'-' if index < last else ' '}{line}"[:_LINE])

    def noted(self, text: str) -> None:
        """Something else that happened."""
        self.lines.append(f"({text})"[:_LINE])
