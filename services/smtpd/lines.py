"""What a session has received, cut into command lines (RFC 5321 2.3.8, 4.5.3.1.4). Pure."""

from tubepost.common.mail.lines import Input

from tubepost.services.smtpd import authentication
from tubepost.services.smtpd.ledger import Ledger
from tubepost.services.smtpd.settings import Settings
from tubepost.services.smtpd.tables import State

# Looked at with every command: plain names cost less than an Enum's attributes.
_CLOSED, _AUTH = State.CLOSED, State.AUTH


class Lines(Ledger, Input):
    """The input of ``protocol.Machine``: what came in and was not looked at yet, and its next line."""

    def __init__(self, settings: Settings, client: str) -> None:
        Ledger.__init__(self, settings, client)
        Input.__init__(self, settings.line_length_limit)
        self.auth_active = False
        """AUTH may be used by this client."""
        self.bare_newline_policy = settings.forbid_bare_newline
        self.pipelined_wrongly = False

    def receive(self, data: bytes) -> None:
        """Take in what the client sent."""
        if self.state is not _CLOSED:
            Input.receive(self, data)

    def close(self, reason: str = "") -> None:
        """No further input counts."""
        self._buffer = b""
        self._position = 0
        super().close(reason)

    def _buffered(self) -> bool:
        return self._position < len(self._buffer)

    def _next_line(self) -> bytes | None:
        buffer = self._buffer
        settings = self.settings
        # RFC 4954 4: responses have a limit of their own.
        limit = settings.line_length_limit if self.state is not _AUTH else settings.sasl_response_limit
        start = self._position
        newline = buffer.find(b"\n", start)
        if newline < 0:
            if len(buffer) - start > limit + 1 and not self._dropping and not self._may_be_long(start, len(buffer)):
                self._too_long(buffer[start : start + 30])
            if self._dropping:
                self._buffer = b""
                self._position = 0
            return None
        line = buffer[start:newline]
        self._position = newline + 1
        if self._dropping or (len(line) > limit + 1 and not self._may_be_long(start, newline)):
            if not self._dropping:
                self._too_long(line[:30])
            self._dropping = False
            if self.state is _AUTH:
                authentication.too_long(self)
            else:
                self.refuse_long()
            return b""
        if line.endswith(b"\r"):
            line = line[:-1]
        elif self.bare_newline_policy == "reject":
            self.log_reject("bare <LF> received")
            self.troubles.add("protocol")
            code = self.settings.forbid_bare_newline_reject_code
            self.reply(f"{code} 5.5.2 {self.settings.myhostname} Error: bare <LF> received")
            self.close()
            return b""
        elif self.bare_newline_policy == "note":
            self.noted_bare_newline = True
        if self.bare_newline_policy == "no":
            line = line.rstrip(b"\r")
        # An empty line is a command too, and a wrong one; b"" above means that the line was dealt with.
        return line or b" "

    def _may_be_long(self, start: int, end: int) -> bool:
        """A token may be an initial response, and tokens are long."""
        if not self.auth_active or self._buffer[start : start + 5].upper() != b"AUTH ":
            return False
        return end - start <= self.settings.sasl_response_limit

    def _too_long(self, start: bytes) -> None:
        self._dropping = True
        shown = start.decode("ascii", "replace") if self.state is not _AUTH else ""
        self.logs.append(
            ("warning", f"{self.client}: request longer than {self.settings.line_length_limit}: {shown}...")
        )

    def _flag_pipelining(self) -> bool:
        """The client talks out of turn: noted, and True when the session ends over it."""
        if self.pipelined_wrongly:
            return False
        self.pipelined_wrongly = True
        shown = self._buffer[self._position : self._position + 100].decode("ascii", "backslashreplace")
        shown = shown.replace("\r", "\\r").replace("\n", "\\n")
        self.logs.append(("info", f"improper command pipelining after {self.where} from {self.client}: {shown}"))
        if not self.settings.forbid_unauth_pipelining:
            return False
        self.reply("554 5.5.0 Error: SMTP protocol synchronization")
        self.close()
        return True
