"""The LMTP server as a pure machine (RFC 2033): bytes in, events out, replies collected.

    machine.greet(); …; machine.receive(data)
    while (event := machine.next_event()) is not None:
        …do what it says; to those that ask: machine.accept(), machine.refuse(…), machine.finished(…)
    transport.write(machine.take_output())

It differs from SMTP in two things: LHLO takes the place of EHLO, and the end of the content is answered once for each
recipient that was accepted (RFC 2033 4.2).
"""

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from tubepost.common.mail.lines import Input
from tubepost.common.smtp import command, extensions
from tubepost.common.smtp.command import AddressError, CommandError
from tubepost.common.smtp.content import ChunkContent, DataContent, Skipped, worth_skipping

from tubepost.services.lmtpd import events
from tubepost.services.lmtpd.events import Event

_NUMBER = re.compile(r"[0-9]{1,18}")
_UNPRINTABLE = re.compile(r"[^!-~\u00a0-\u2027\u202a-\U0010ffff]")
_BODIES = frozenset({"7BIT", "8BITMIME"})


class State(Enum):
    """Where a mail transaction stands (RFC 5321 3.3)."""

    __hash__ = object.__hash__

    NEW = "LHLO is due"
    READY = "no transaction"
    MAIL = "sender given"
    RECIPIENTS = "at least one recipient was named"
    CONTENT = "content by DATA is coming"
    CHUNK = "content by BDAT is coming"
    CHUNKED = "between two BDAT chunks"
    BROKEN = "a chunk was refused; only RSET helps"
    CLOSED = "the session is over"


@dataclass(frozen=True, slots=True)
class Settings:
    """``size_limit``: octets of a message, 0 for none. ``policy``: smtpd_forbid_bare_newline."""

    myhostname: str
    banner: str
    size_limit: int = 0
    line_limit: int = 2048
    recipient_limit: int = 1000
    error_limit: int = 20
    smtputf8: bool = True
    policy: str = "normalize"


class Machine(Input):
    """One session."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.line_limit)
        self.settings = settings
        self.state = State.NEW
        self.name = ""
        """What the client said in LHLO."""
        self.sender = ""
        self.recipients: list[str] = []
        """Those that were accepted, in order."""
        self.smtputf8 = False
        self.tls_offered = False
        self.tls_active = False
        self.tls_required = False
        self.output: list[bytes] = []
        self._ready: deque[Event] = deque()
        self._asked: Event | None = None
        self._errors = 0
        self._data: DataContent | None = None
        self._chunk: ChunkContent | None = None
        self._last = False
        self._skipped: Skipped | None = None
        self._skip_reply = ""

    # -- bytes -------------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take in what the client sent."""
        if self.state is not State.CLOSED:
            super().receive(data)

    def reply(self, text: str) -> None:
        self.output.append(f"{text}\r\n".encode())

    # -- events ------------------------------------------------------------------------------------------------------

    def next_event(self) -> Event | None:
        """None when more input is needed, or after Hangup."""
        assert self._asked is None
        ready = self._ready
        while not ready:
            if self.state is State.CLOSED or self._position >= len(self._buffer):
                return None
            if self.state is State.CONTENT:
                self._take_content()
            elif self._skipped is not None:
                self._take_skipped(self._skipped)
            elif self.state is State.CHUNK:
                self._take_chunk()
            else:
                line = self.next_line()
                if line is None:
                    return None
                self._obey(line)
        event = ready.popleft()
        if isinstance(event, events.Recipient | events.End | events.StartTls):
            self._asked = event
        return event

    def _obey(self, line: bytes) -> None:
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            return self._wrong("500 5.5.2 Error: bad UTF-8 syntax")
        if "\0" in text:
            # RFC 5321 4.5.3.1.4
            return self._wrong("500 5.5.2 Error: the line is too long or has NUL in it")
        verb, rest = command.split_verb(text)
        handler = _COMMANDS.get(verb)
        if verb in ("HELO", "EHLO"):
            # RFC 2033 4.1
            return self._wrong("500 5.5.1 Error: this is LMTP, say LHLO")
        if handler is None:
            return self._wrong("500 5.5.2 Error: command not recognized")
        return handler(self, rest)

    def _wrong(self, reply: str) -> None:
        """The client's mistake."""
        self.reply(reply)
        self._errors += 1
        if self._errors >= self.settings.error_limit and self.state is not State.CLOSED:
            self.hang_up(f"421 4.7.0 {self.settings.myhostname} Error: too many errors", "too many errors")

    # -- answers -----------------------------------------------------------------------------------------------------

    def greet(self) -> None:
        self.reply(f"220 {self.settings.banner}")

    def accept(self) -> None:
        """Yes to Recipient."""
        event, self._asked = self._asked, None
        assert isinstance(event, events.Recipient)
        self.recipients.append(event.address)
        self._errors = 0
        self.reply("250 2.1.5 Ok")

    def refuse(self, reply: str) -> None:
        """No to Recipient or StartTls."""
        self._asked = None
        self._wrong(reply)

    def finished(self, replies: Sequence[str]) -> None:
        """To End: one reply for each of ``recipients``, in order (RFC 2033 4.2)."""
        assert isinstance(self._asked, events.End) and len(replies) == len(self.recipients)
        self._asked = None
        for reply in replies:
            self.reply(reply)
        self._reset()

    def secured(self) -> None:
        """TLS is there: the client begins anew (RFC 3207 4.2)."""
        self._asked = None
        self.tls_active = True
        self.name = ""
        self._reset()
        self.state = State.NEW

    def hang_up(self, reply: str, reason: str) -> None:
        """End the session."""
        if self.state is not State.CLOSED:
            self.reply(reply)
            self.state = State.CLOSED
            self.forget_input()
            self._ready.append(events.Hangup(reason))

    def time_out(self) -> None:
        """The client was silent too long (RFC 5321 4.5.3.2)."""
        self.hang_up(f"421 4.4.2 {self.settings.myhostname} Error: timeout exceeded", "timeout")

    def leave(self) -> None:
        """The program is to end (RFC 5321 3.8)."""
        self.hang_up(f"421 4.3.2 {self.settings.myhostname} Error: server is shutting down", "shutdown")

    @property
    def in_content(self) -> bool:
        return self.state in (State.CONTENT, State.CHUNK) or self._skipped is not None

    # -- commands ----------------------------------------------------------------------------------------------------

    def _reset(self) -> None:
        self.sender = ""
        self.recipients = []
        self.smtputf8 = False
        self._data = self._chunk = None
        if self.state is not State.CLOSED:
            self.state = State.READY if self.name else State.NEW

    def _forget_mail(self) -> None:
        if self.state not in (State.NEW, State.READY):
            self._ready.append(events.Lost())
        self._reset()

    def _lhlo(self, rest: str) -> None:
        if not rest:
            return self._wrong("501 5.5.4 Syntax: LHLO hostname")
        self._forget_mail()
        self.name = _UNPRINTABLE.sub("?", rest)[:255]
        self.state = State.READY
        settings = self.settings
        keywords = [("PIPELINING", ""), ("SIZE", str(settings.size_limit) if settings.size_limit else "")]
        if self.tls_offered and not self.tls_active:
            keywords.append(("STARTTLS", ""))
        # RFC 2033 5 wants the first of these, and PIPELINING.
        keywords += [("ENHANCEDSTATUSCODES", ""), ("8BITMIME", ""), ("CHUNKING", "")]
        if settings.smtputf8:
            keywords.append(("SMTPUTF8", ""))
        keywords.append(("LIMITS", f"RCPTMAX={settings.recipient_limit}"))
        self.output.append(extensions.format_reply(settings.myhostname, keywords))
        return None

    def _starttls(self, rest: str) -> None:
        if rest:
            return self._wrong("501 5.5.4 Syntax: STARTTLS")
        if self.tls_active or not self.tls_offered:
            return self._wrong("503 5.5.1 Error: TLS is not available, or active already")
        if self.state not in (State.NEW, State.READY):
            return self._wrong("503 5.5.1 Error: a mail transaction is under way")
        self._ready.append(events.StartTls())
        return None

    def _mail(self, rest: str) -> None:
        if self.state is State.NEW:
            return self._wrong("503 5.5.1 Error: send LHLO first")
        if self.tls_required and not self.tls_active:
            # RFC 3207 4
            return self._wrong("530 5.7.0 Must issue a STARTTLS command first")
        if self.state is not State.READY:
            return self._wrong("503 5.5.1 Error: nested MAIL command")
        try:
            path = command.parse_path_command(rest, "FROM:")
        except AddressError:
            return self._wrong("501 5.1.7 Bad sender address syntax")
        except CommandError:
            return self._wrong("501 5.5.4 Syntax: MAIL FROM:<address>")
        smtputf8 = False
        for name, value in path.parameters:
            if name == "SIZE":
                # RFC 1870 3: 1*20DIGIT
                if not value or not value.isascii() or not value.isdigit() or len(value) > 20:
                    return self._wrong("501 5.5.4 Bad message size syntax")
                if self.settings.size_limit and int(value) > self.settings.size_limit:
                    return self._wrong("552 5.3.4 Message size exceeds fixed limit")
            elif name == "BODY" and value is not None and value.upper() in _BODIES:
                pass
            elif name == "SMTPUTF8" and value is None and self.settings.smtputf8:
                smtputf8 = True
            else:
                # RFC 5321 4.1.1.11
                return self._wrong(f"555 5.5.4 Unsupported option: {name[:100]}")
        self.sender = path.address
        self.smtputf8 = smtputf8
        self.state = State.MAIL
        self._errors = 0
        return self.reply("250 2.1.0 Ok")

    def _rcpt(self, rest: str) -> None:
        if self.state not in (State.MAIL, State.RECIPIENTS):
            return self._wrong("503 5.5.1 Error: need MAIL command")
        try:
            path = command.parse_path_command(rest, "TO:")
            if not path.address:
                raise AddressError("a recipient must not be empty")
        except AddressError:
            return self._wrong("501 5.1.3 Bad recipient address syntax")
        except CommandError:
            return self._wrong("501 5.5.4 Syntax: RCPT TO:<address>")
        if path.parameters:
            return self._wrong(f"555 5.5.4 Unsupported option: {path.parameters[0][0][:100]}")
        if len(self.recipients) >= self.settings.recipient_limit:
            # RFC 5321 4.5.3.1.10
            return self.reply("452 4.5.3 Error: too many recipients")
        self.state = State.RECIPIENTS
        self._ready.append(events.Recipient(path.address))
        return None

    def _data_verb(self, rest: str) -> None:
        if rest:
            return self._wrong("501 5.5.4 Syntax: DATA")
        if self.state in (State.CHUNKED, State.BROKEN):
            return self._wrong("503 5.5.1 Error: DATA after BDAT")
        if not self.recipients:
            # RFC 2033 4.2: 503 where no recipient was accepted.
            return self._wrong("503 5.5.1 Error: no valid recipients")
        self.state = State.CONTENT
        self._data = DataContent(self.settings.size_limit, self.settings.policy, replace_stray_cr=True)
        self._ready.append(events.Begin())
        return self.reply("354 End data with <CR><LF>.<CR><LF>")

    def _bdat(self, rest: str) -> None:
        words = rest.split()
        last = len(words) == 2 and words[1].upper() == "LAST"
        if not 1 <= len(words) <= 2 or (len(words) == 2 and not last) or not _NUMBER.fullmatch(words[0]):
            # What follows cannot be told from content: nothing but the end is safe.
            return self.hang_up("521 5.5.4 Syntax: BDAT count [LAST]", "malformed BDAT")
        size = int(words[0])
        chunk = self._chunk
        if self.state is State.BROKEN or not self.recipients:
            return self._skip(size, "503 5.5.1 Error: no valid recipients, or a chunk was refused before")
        if chunk is None:
            chunk = self._chunk = ChunkContent(
                self.settings.size_limit, self.settings.policy, binary=False, replace_stray_cr=True
            )
            self._ready.append(events.Begin())
        if not chunk.fits(size):
            self._ready.append(events.Lost())
            self.state = State.BROKEN
            if not worth_skipping(chunk.received, size, self.settings.size_limit):
                return self.hang_up("521 5.3.4 Chunk size exceeds the limit of a message", "message too large")
            return self._skip(size, "552 5.3.4 Message size exceeds fixed limit")
        chunk.begin(size, last=last)
        self._last = last
        self.state = State.CHUNK
        if not size:
            self._take_chunk()
        return None

    def _skip(self, size: int, reply: str) -> None:
        """A chunk that is not taken is read all the same, to stay in step with a client that pipelines."""
        limit = self.settings.size_limit
        if limit and size > 2 * limit:
            return self.hang_up("521 5.3.4 Chunk size exceeds the limit of a message", "message too large")
        if not size:
            return self._wrong(reply)
        self._skipped, self._skip_reply = Skipped(size), reply
        return None

    def _rset(self, rest: str) -> None:
        if rest:
            return self._wrong("501 5.5.4 Syntax: RSET")
        self._forget_mail()
        return self.reply("250 2.0.0 Ok")

    def _noop(self, _rest: str) -> None:
        self.reply("250 2.0.0 Ok")

    def _vrfy(self, rest: str) -> None:
        if not rest:
            return self._wrong("501 5.5.4 Syntax: VRFY address")
        return self.reply("252 2.0.0 Send some mail, and RCPT will tell")

    def _help(self, _rest: str) -> None:
        self.reply(f"214 2.0.0 Commands: {' '.join(sorted(_COMMANDS))}")

    def _quit(self, _rest: str) -> None:
        self._forget_mail()
        self.hang_up("221 2.0.0 Bye", "")

    # -- content -----------------------------------------------------------------------------------------------------

    def _take_content(self) -> None:
        content = self._data
        assert content is not None
        data, rest = content.feed(self.take_rest())
        if data:
            self._ready.append(events.Content(data))
        if not content.finished:
            return
        self._buffer = rest
        if self.settings.policy == "reject" and content.bare_newline:
            self._ready.append(events.Lost())
            self._answer_all("550 5.5.2 Error: bare <LF> received")
        elif content.too_big:
            self._ready.append(events.Lost())
            self._answer_all("552 5.3.4 Message size exceeds fixed limit")
        else:
            self._ready.append(events.End(content.size))

    def _take_chunk(self) -> None:
        chunk = self._chunk
        assert chunk is not None
        data, self._buffer = chunk.feed(self.take_rest())
        if data:
            self._ready.append(events.Content(data))
        if chunk.left:
            return
        if chunk.too_big or (self.settings.policy == "reject" and chunk.bare_newline):
            self._ready.append(events.Lost())
            reply = (
                "552 5.3.4 Message size exceeds fixed limit" if chunk.too_big else "550 5.5.2 Error: bare <LF> received"
            )
            if self._last:
                self._answer_all(reply)
            else:
                self.state = State.BROKEN
                self._wrong(reply)
        elif self._last:
            self._ready.append(events.End(chunk.size))
        else:
            self.state = State.CHUNKED
            self.reply(f"250 2.0.0 Ok: {chunk.received} bytes so far")

    def _take_skipped(self, skipped: Skipped) -> None:
        self._buffer = skipped.feed(self.take_rest())
        if not skipped.left:
            self._skipped = None
            self._wrong(self._skip_reply)

    def _answer_all(self, reply: str) -> None:
        for _ in self.recipients:
            self.reply(reply)
        self._reset()


_COMMANDS: dict[str, Callable[[Machine, str], None]] = {
    "LHLO": Machine._lhlo,
    "STARTTLS": Machine._starttls,
    "MAIL": Machine._mail,
    "RCPT": Machine._rcpt,
    "DATA": Machine._data_verb,
    "BDAT": Machine._bdat,
    "RSET": Machine._rset,
    "NOOP": Machine._noop,
    "VRFY": Machine._vrfy,
    "HELP": Machine._help,
    "QUIT": Machine._quit,
}
