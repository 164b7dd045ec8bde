"""The SMTP server as a pure machine (RFC 5321): bytes in, events out, replies collected.

    machine.greet(); …; machine.receive(data)
    while (event := machine.next_event()) is not None:
        …do what it says; for the events that ask: machine.accept(…) or machine.refuse("550 5.7.1 …")
    transport.write(machine.take_output())

The machine knows the grammar, the order of commands, and the limits on lines, commands, recipients, errors and content.
It does not know who may send what to whom: the driver decides that at the events that ask. Mistakes of the client are
answered here, and the driver does not see them, except as ``Pause`` and ``Hangup``.

What the client sends must not be answered faster than it is judged: while an event waits for its answer, and after
``Pause`` until ``resume``, nothing further is read from the input.
"""

import re

from tubepost.common.smtp import command
from tubepost.common.smtp.content import ChunkContent, DataContent, Skipped, worth_skipping

from tubepost.services.smtpd import authentication, events, hello
from tubepost.services.smtpd.events import Event
from tubepost.services.smtpd.ledger import UNPRINTABLE, Ledger
from tubepost.services.smtpd.settings import Settings
from tubepost.services.smtpd.tables import (
    AFTER_BDAT,
    AFTER_DATA,
    END_OF_MESSAGE,
    OUT_OF_ORDER,
    UNKNOWN,
    VERBS,
    State,
)
from tubepost.services.smtpd.verbs import HANDLERS

_ASKS = frozenset(
    {
        events.Helo,
        events.Mail,
        events.Rcpt,
        events.Data,
        events.EndOfContent,
        events.Vrfy,
        events.Etrn,
        events.Xclient,
        events.Xforward,
        events.StartTls,
        events.Auth,
        events.AuthResponse,
    }
)
_HEADER = re.compile(r"[!-9;-~]+:")
# Looked at with every command: plain names cost less than an Enum's attributes.
_CLOSED, _CONTENT, _CHUNK, _AUTH = State.CLOSED, State.CONTENT, State.CHUNK, State.AUTH


class Machine(Ledger):
    """One session. ``client``: ``name[address]``, as in log lines."""

    def __init__(self, settings: Settings, client: str) -> None:
        super().__init__(settings, client)
        self.smtputf8 = False
        self.withheld: frozenset[str] = frozenset()
        """EHLO keywords that this client is not told (smtpd_discard_ehlo_keywords)."""
        self.withheld_silently = False
        self.verp_allowed = False
        self.xclient_allowed = False
        self.xforward_allowed = False
        self.tls_offered = False
        """STARTTLS may be used, where TLS is not there yet."""
        self.tls_active = False
        self.tls_required = False
        self.auth_active = False
        """AUTH may be used by this client."""
        self.mechanisms: tuple[str, ...] = ()
        """What EHLO announces with it."""
        self.user = ""
        """Who has authenticated."""
        self.bare_newline_policy = settings.forbid_bare_newline
        self.pipelined_wrongly = False
        self.access_denied = ""
        self.overshoot = 0
        self.encoding = ""
        self.chunk_size = 0
        self.chunk_last = False
        self._buffer = b""
        self._position = 0
        self._dropping = False
        self._asked: Event | None = None
        self._data: DataContent | None = None
        self._chunk: ChunkContent | None = None
        self._skipped: Skipped | None = None
        self._skip_reply = ""
        self._lost = False

    def greet(self, denied: str = "") -> None:
        """Say 220, or ``denied`` when client restrictions said no and smtpd_delay_reject is off."""
        if self._buffered() and self._flag_pipelining():
            return
        if denied:
            self.access_denied = denied
            self.errors += 1
            self.troubles.add("policy")
            self.reply(denied)
            if denied.startswith(("421", "521")):
                self.close()
        else:
            self.reply(f"220 {self.settings.banner}")

    def receive(self, data: bytes) -> None:
        """Take in what the client sent."""
        if self.state is _CLOSED:
            return
        if self._position < len(self._buffer):
            self._buffer = self._buffer[self._position :] + data if self._position else self._buffer + data
        else:
            self._buffer = data
        self._position = 0

    def close(self, reason: str = "") -> None:
        """No further input counts."""
        self._buffer = b""
        self._position = 0
        super().close(reason)

    @property
    def waiting_input(self) -> int:
        """Bytes received and not looked at yet."""
        return len(self._buffer) - self._position

    @property
    def in_content(self) -> bool:
        """True while message content is due."""
        return self.state is _CONTENT or self.state is _CHUNK or self._skipped is not None

    @property
    def content_due(self) -> int:
        """Bytes of content that are certainly still to come: nothing is decided before them. 0: the next may decide."""
        if self.state is State.CONTENT:
            return 0
        if self.state is State.CHUNK and self._chunk is not None:
            return self._chunk.left
        return self._skipped.left if self._skipped is not None else 0

    def next_event(self) -> Event | None:
        """The next event, or None when more input is needed (or the session is over)."""
        if self._asked is not None:
            raise RuntimeError(f"{type(self._asked).__name__} was not answered")
        ready = self.ready
        if self.held and not ready:
            raise RuntimeError("resume() is due before the next event")
        while not ready:
            state = self.state
            if state is _CLOSED:
                return None
            if state is _CONTENT or state is _CHUNK or self._skipped is not None:
                if not self._next_content():
                    return None
            elif self.errors >= self.settings.hard_error_limit:
                self.troubles.add("protocol")
                self.reply(f"421 4.7.0 {self.settings.myhostname} Error: too many errors")
                self.close("too many errors")
            else:
                line = self._next_line() if self._position < len(self._buffer) else None
                if line is None:
                    return None
                if line and state is _AUTH:
                    authentication.response(self, line)
                elif line:
                    self._command(line)
        event = ready.popleft()
        if event.__class__ in _ASKS:
            self._asked = event
        return event

    def accept(self, text: str = "") -> None:
        """Yes to the event that asked. ``text``: the queue id for EndOfContent, the user for Auth and AuthResponse."""
        event, self._asked = self._asked, None
        match event:
            case events.Rcpt():
                self.recipients.append(event)
                self.state = State.RCPT
                self.ok("RCPT", "250 2.1.5 Ok")
            case events.Mail():
                self.sender = event.sender
                self.smtputf8 = event.smtputf8
                self.encoding = event.encoding
                self.state = State.MAIL
                self.ok("MAIL", "250 2.1.0 Ok")
            case events.Data():
                self._begin_content(event.chunking)
            case events.EndOfContent():
                self._queued(event, text)
            case events.Helo():
                hello.greet(self, event)
            case events.Vrfy():
                self.ok("VRFY", f"252 2.0.0 {event.text}")
            case events.Etrn():
                self.ok("ETRN", "250 Queuing started")
            case events.Xclient():
                self.reset_transaction()
                if "HELO" not in event.attributes:
                    self.helo = ""
                self.protocol = event.attributes.get("PROTO", "SMTP")
                self.reply(f"220 {self.settings.banner}")
            case events.Xforward():
                self.ok("XFORWARD", "250 2.0.0 Ok")
            case events.Auth() | events.AuthResponse():
                self.user = text
                self.ok("AUTH", "235 2.7.0 Authentication successful")
            case events.StartTls():
                self.count("STARTTLS", 1, 0)
                # RFC 3207 4.2, CVE-2011-0411: what came in the clear behind the command is not read any more.
                self._buffer = b""
                self._position = 0
                self._dropping = False
                # Not by ``ok``: after errors that would hold the reply back.
                self.output.append("220 2.0.0 Ready to start TLS\r\n")
            case _:
                raise RuntimeError("nothing was asked")

    def refuse(self, reply: str, trouble: str = "") -> None:
        """No to the event that asked. 421 and 521 end the session. ``trouble``: its notify_classes class."""
        event, self._asked = self._asked, None
        if event is None:
            raise RuntimeError("nothing was asked")
        if trouble:
            self.troubles.add(trouble)
        if isinstance(event, events.Data) and event.chunking:
            self.skip(self.chunk_size, self.chunk_last, reply)
            return
        if isinstance(event, events.EndOfContent):
            self.reset_transaction()
            self.where = END_OF_MESSAGE
        self.wrong(reply)
        if reply.startswith(("421", "521")):
            self.close()

    def challenge(self, data: bytes) -> None:
        """To Auth and AuthResponse: the mechanism wants to know more."""
        self._asked = None
        self.state = State.AUTH
        self.reply(f"334 {authentication.encode(data)}")

    def secure(self) -> None:
        """TLS is there: nothing that was said before it counts (RFC 3207 4.2)."""
        self.tls_active = True
        self.helo = self.user = ""
        self.protocol = "SMTP"
        self.mechanisms = ()
        self.reset_transaction()

    def time_out(self) -> None:
        """The client was silent too long (RFC 5321 4.5.3.2)."""
        self._leave(f"421 4.4.2 {self.settings.myhostname} Error: timeout exceeded", "timeout")

    def shut_down(self) -> None:
        """This server is being stopped (RFC 5321 3.8)."""
        self._leave(f"421 4.3.2 {self.settings.myhostname} Error: server is shutting down", "shutdown")

    def turn_away(self, reply: str, trouble: str = "policy") -> None:
        """End the session before it began: too many connections, overload."""
        self.troubles.add(trouble)
        self._leave(reply, "")

    def break_down(self) -> None:
        """Something of ours is broken, so that nothing can be decided (Postfix: local data error)."""
        self.troubles.add("data")
        self.logs.append(
            (
                "info",
                f"NOQUEUE: reject: {self.where} from {self.client}: 421 4.3.0 {self.settings.myhostname} "
                "Server local data error",
            )
        )
        self._leave(f"421 4.3.0 {self.settings.myhostname} Server local data error", "")

    @property
    def content_size(self) -> int:
        """Bytes of content so far."""
        content = self._data or self._chunk
        return content.size if content is not None else 0

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

    def _command(self, line: bytes) -> None:
        settings = self.settings
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            self.where = UNKNOWN
            self.count(UNKNOWN, 0, 1)
            self.wrong("500 5.5.2 Error: bad UTF-8 syntax", "protocol")
            return
        if settings.keep_history:
            self.history.append(f"In:  {authentication.conceal(text)}")
        if settings.command_filter is not None:
            try:
                other = settings.command_filter(text.lstrip(" \t"))
            except LookupError as error:
                self.logs.append(("warning", f"{self.client}: smtpd_command_filter: {error}"))
                self.break_down()
                return
            if other is not None:
                self.logs.append(("info", f'{self.client}: replacing command "{text[:100]}" with "{other[:100]}"'))
                text = other
        verb, rest = command.split_verb(text)
        if not verb:
            self.where = UNKNOWN
            self.count(UNKNOWN, 0, 1)
            self.wrong("500 5.5.2 Error: bad syntax", "protocol")
            return
        if settings.is_noop is not None and settings.is_noop(verb):
            self.count_junk()
            self.reply("250 2.0.0 Ok")
            return
        known = VERBS.get(verb)
        if known is None:
            self.where = UNKNOWN
            self.count(UNKNOWN, 0, 1)
            if _HEADER.match(verb) or (settings.is_forbidden is not None and settings.is_forbidden(verb)):
                shown = UNPRINTABLE.sub("?", text[:100])
                self.logs.append(("warning", f"non-SMTP command from {self.client}: {shown}"))
                self.reply("221 2.7.0 Error: I can break rules, too. Goodbye.")
                self.close()
                return
        else:
            counts = self.counts.get(verb)
            if counts is None:
                self.counts[verb] = [0, 1]
            else:
                counts[1] += 1
        if self.access_denied and verb != "QUIT":
            # RFC 5321 3.1: a server that said 554 answers 503 to all but QUIT.
            self.wrong(f"503 5.7.0 Error: access denied for {self.client}")
            return
        if known is None:
            self.wrong("500 5.5.2 Error: command not recognized", "protocol")
            return
        self.where = verb
        if self.tls_required and not self.tls_active and not known.clear:
            # RFC 3207 4
            self.wrong("530 5.7.0 Must issue a STARTTLS command first", "policy")
            return
        if (known.last or self.protocol != "ESMTP") and self._position < len(self._buffer) and self._flag_pipelining():
            return
        out_of_order = OUT_OF_ORDER.get((self.state, verb))
        if out_of_order is not None:
            self.wrong(out_of_order, "protocol")
        else:
            event = HANDLERS[verb](self, rest)
            if event is not None:
                self.ready.append(event)
        if known.junk:
            self.count_junk()

    def _begin_content(self, chunking: bool) -> None:
        settings = self.settings
        self._lost = False
        if chunking:
            self._chunk = ChunkContent(
                settings.message_size_limit,
                self.bare_newline_policy,
                binary=self.encoding == "binary",
                replace_stray_cr=settings.replace_stray_cr,
            )
            self.begin_chunk()
            return
        self._data = DataContent(
            settings.message_size_limit, self.bare_newline_policy, replace_stray_cr=settings.replace_stray_cr
        )
        self.state = State.CONTENT
        self.where = AFTER_DATA
        self.reply("354 End data with <CR><LF>.<CR><LF>")

    def begin_chunk(self) -> None:
        chunk = self._chunk
        assert chunk is not None
        if not chunk.fits(self.chunk_size):
            self.troubles.add("policy")
            self.logs.append(("warning", f"NOQUEUE: BDAT request from {self.client} exceeds message size limit"))
            self._lose()
            self.skip(self.chunk_size, self.chunk_last, "552 5.3.4 Chunk exceeds message size limit")
            return
        chunk.begin(self.chunk_size, last=self.chunk_last)
        self.state = State.CHUNK
        self.where = AFTER_BDAT

    def skip(self, size: int, last: bool, reply: str) -> None:
        received = self._chunk.received if self._chunk is not None else 0
        if not worth_skipping(received, size, self.settings.message_size_limit):
            self.wrong(reply)
            self.logs.append(
                ("warning", f"NOQUEUE: too much BDAT content -- disabling further input from {self.client}")
            )
            self.close()
            return
        self._skipped = Skipped(size)
        self._skip_reply = reply
        self.chunk_last = last

    def _next_content(self) -> bool:
        """Work on buffered content; False when more input is needed."""
        if self._skipped is not None:
            return self._next_skipped()
        if self._data is not None:
            if not self._buffered():
                return False
            content, rest = self._data.feed(self._take_buffer())
            finished = self._data.finished
        else:
            chunk = self._chunk
            assert chunk is not None
            if chunk.left and not self._buffered():
                return False
            content, rest = chunk.feed(self._take_buffer())
            finished = not chunk.left
        self._buffer = rest
        self._position = 0
        current = self._data or self._chunk
        assert current is not None
        if current.too_big and not self._lost:
            self.logs.append(("warning", "NOQUEUE: queue file size limit exceeded"))
            self._lose()
        if content and not self._lost:
            self.ready.append(events.Content(content))
        if finished:
            self._end_content(current)
        return True

    def _take_buffer(self) -> bytes:
        data = self._buffer[self._position :] if self._position else self._buffer
        self._buffer = b""
        self._position = 0
        return data

    def _next_skipped(self) -> bool:
        skipped = self._skipped
        assert skipped is not None
        if skipped.left and not self._buffered():
            return False
        self._buffer = skipped.feed(self._take_buffer())
        if skipped.left:
            return True
        self._skipped = None
        reply = self._skip_reply
        if self.chunk_last:
            self.reset_transaction()
            self.ready.append(events.Reset())
        else:
            self.state = State.BROKEN
        self.wrong(reply)
        if reply.startswith(("421", "521")):
            self.close()
        return True

    def _lose(self) -> None:
        self._lost = True
        self.ready.append(events.ContentLost())

    def _end_content(self, content: DataContent | ChunkContent) -> None:
        by_data = self._data is not None
        last = by_data or self.chunk_last
        if content.bare_newline and self.bare_newline_policy == "note":
            self.noted_bare_newline = True
        fault = trouble = ""
        if last:
            self.where = END_OF_MESSAGE
        if content.bare_newline and self.bare_newline_policy == "reject":
            self.log_reject("bare <LF> received")
            code = self.settings.forbid_bare_newline_reject_code
            fault, trouble = f"{code} 5.5.2 {self.settings.myhostname} Error: bare <LF> received", "protocol"
        elif content.too_big:
            # RFC 1870 6.3
            fault, trouble = "552 5.3.4 Error: message file too big", "bounce"
        if fault:
            if not self._lost:
                self._lose()
            if last:
                self.reset_transaction()
            else:
                self.state = State.BROKEN
            self.wrong(fault, trouble)
        elif last:
            # The state stays until the driver has answered.
            self.state = State.RCPT
            self.ready.append(events.EndOfContent(content.size))
        else:
            self.state = State.CHUNKED
            self.ok("BDAT", f"250 2.0.0 Ok: {self.chunk_size} bytes")

    def _queued(self, event: events.EndOfContent, queue_id: str) -> None:
        by_data = self._data is not None
        self.errors = 0
        self.junk = 0
        self.troubles.clear()
        self.reset_transaction()
        self.where = END_OF_MESSAGE
        if by_data:
            self.ok("DATA", f"250 2.0.0 Ok: queued as {queue_id}")
        else:
            self.ok("BDAT", f"250 2.0.0 Ok: {event.size} bytes queued as {queue_id}")

    def reset_transaction(self) -> None:
        self.state = State.READY
        self.sender = None
        self.recipients = []
        self.smtputf8 = False
        self.encoding = ""
        self.overshoot = 0
        self._data = None
        self._chunk = None
        self._lost = False
        if len(self.history) > self.settings.history_flush_threshold:
            if self.troubles:
                self.notices.append((frozenset(self.troubles), self.history))
            self.troubles.clear()
            self.history = []

    def _leave(self, reply: str, reason: str) -> None:
        if self.state is State.CLOSED:
            return
        # Nothing is held back any more: the last word goes out now.
        while self.held:
            self.output.append(self.held.popleft())
        self.ready.clear()
        self._asked = None
        if self.settings.keep_history:
            self.history.append(f"Out: {reply}")
        self.output.append(f"{reply}\r\n")
        self.close(reason)
