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

from tubepost.services.smtpd import authentication, events, hello
from tubepost.services.smtpd.contents import Contents
from tubepost.services.smtpd.events import Event
from tubepost.services.smtpd.ledger import UNPRINTABLE
from tubepost.services.smtpd.settings import Settings
from tubepost.services.smtpd.tables import (
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


class Machine(Contents):
    """One session. ``client``: ``name[address]``, as in log lines."""

    def __init__(self, settings: Settings, client: str) -> None:
        super().__init__(settings, client)
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
        self.mechanisms: tuple[str, ...] = ()
        """What EHLO announces with it."""
        self.user = ""
        """Who has authenticated."""
        self.access_denied = ""
        self._asked: Event | None = None

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
                self._begin_again(event)
            case events.Xforward():
                self.ok("XFORWARD", "250 2.0.0 Ok")
            case events.Auth() | events.AuthResponse():
                self.user = text
                self.ok("AUTH", "235 2.7.0 Authentication successful")
            case events.StartTls():
                self.count("STARTTLS", 1, 0)
                # RFC 3207 4.2, CVE-2011-0411: what came in the clear behind the command is not read any more.
                self.forget_input()
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

    def deny(self, reply: str) -> None:
        """To Xclient: it may be said, and client restrictions say no to the client that it names."""
        event, self._asked = self._asked, None
        if not isinstance(event, events.Xclient):
            raise RuntimeError("no client was named")
        self._begin_again(event, reply)

    def _begin_again(self, event: events.Xclient, denied: str = "") -> None:
        self.reset_transaction()
        if "HELO" not in event.attributes:
            self.helo = ""
        self.protocol = event.attributes.get("PROTO", "SMTP")
        self.greet(denied)

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
            self.flush_history()
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
