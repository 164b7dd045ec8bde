"""The client's side of SMTP and LMTP as a pure machine: bytes in, bytes out, one result for each recipient.

Laws: everything that affects what is said next lives here. The caller moves bytes: it sends what ``take`` gives, feeds
what the peer says, streams the content when ``wants_content``, and tells of a lost connection. Time is not known here;
``stage`` says what is awaited, so that the caller can set the time limit of that stage.

Commands are sent as far as the peer lets us (PIPELINING, RFC 2920), replies are matched with them in order::

    greeting -> EHLO (-> HELO) -> ready <-> [RSET] [XFORWARD] MAIL RCPT… DATA -> content -> DOT
                                    \\-> QUIT
"""

import enum
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tubepost.common.mail import dsn
from tubepost.common.smtp import extensions
from tubepost.common.smtp.replies import Reply, ReplyError, ReplyParser
from tubepost.common.wire.envelope import Envelope, Recipient

from tubepost.services.smtp import envelope as commands
from tubepost.services.smtp import handshake
from tubepost.services.smtp.handshake import Security
from tubepost.services.smtp.server import Manner, Server, printable, said
from tubepost.services.smtp.stages import Stage, Trouble
from tubepost.services.smtp.transcript import Transcript

# Commands sent and not yet answered, bytes: below the smallest socket buffer of any peer, so that neither side blocks
# the other (RFC 2920 3.1). Postfix has 4096.
_WINDOW = 8192


class Phase(enum.Enum):
    GREETING = "greeting"
    READY = "ready"
    """Greeted, no transaction under way."""
    BUSY = "busy"
    CLOSED = "closed"
    """Of no further use; ``failure`` says why where it failed."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The peer took it over. ``text``: its words."""

    dsn: str
    text: str


Result = Sent | Trouble


@dataclass(slots=True)
class Mail:
    """One transaction. ``sender`` and ``addresses`` as they are to be said (after smtp_generic_maps)."""

    envelope: Envelope
    sender: str
    recipients: Sequence[Recipient]
    addresses: Sequence[str]
    size: int
    probe: bool = False
    queue_id: str = ""
    results: list[Result | None] = field(default_factory=list)
    converting: bool = False
    binary: bool = False

    def plan(self, server: Server, manner: Manner) -> None:
        """How the content travels to this server: as it is, BINARYMIME, or made 7-bit (RFC 6152 3, RFC 3030 3)."""
        encoding = self.envelope.encoding
        keywords = server.keywords
        self.binary = encoding == "binary" and "BINARYMIME" in keywords and "CHUNKING" in keywords
        self.converting = (
            manner.convert
            and not self.binary
            and (encoding == "binary" or (encoding == "8bit" and "8BITMIME" not in keywords))
        )


class Conversation:
    """``nexthop`` for the words of a loop; ``watch_loops``: the peer is met on the port that this host serves too."""

    def __init__(
        self,
        server: Server,
        manner: Manner,
        *,
        nexthop: str = "",
        watch_loops: bool = False,
        discard: frozenset[str] = frozenset(),
        reply_filter: Callable[[str], str | None] | None = None,
        old_message: bool = False,
        security: Security | None = None,
        transcript: Transcript | None = None,
    ) -> None:
        """``discard``: EHLO keywords to ignore. ``reply_filter``: gives another line for a reply line, or None.

        ``old_message``: it waits since smtp_pix_workaround_threshold_time.
        """
        self.server = server
        self.manner = manner
        self.phase = Phase.GREETING
        self.failure: Trouble | None = None
        self.stale = False
        """A kept connection turned out to be dead before anything was said: no word about the destination."""
        self.wants_content = False
        self.must_close = False
        """The peer erred or hangs up: no further transaction on this connection."""
        self.answered = 0
        """Replies so far: progress, for deadlines."""
        self.transactions = 0
        self.notes: list[str] = []
        """Warnings for the log."""
        self.remarks: list[str] = []
        """The same, and no trouble."""
        self.security = security or Security()
        self.transcript = transcript
        """None: nobody wants to read it."""
        self.wants_tls = False
        """The server waits for the handshake: ``secured`` is to be called then, or ``handshake.tls_failed``."""
        self._nexthop = nexthop
        self._watch_loops = watch_loops
        self._discard = discard
        self._filter = reply_filter
        self._old_message = old_message
        self._parser = ReplyParser()
        self._partial = b""
        self._out: list[bytes] = []
        self._todo: deque[tuple[Stage, bytes, int]] = deque()
        self._expected: deque[tuple[Stage, int, int]] = deque()
        self._unanswered = 0
        self._pipelining = False
        self._esmtp = False
        self._mail = Mail(Envelope(sender="", arrival_time=0), "", (), (), 0)
        self._accepted: list[int] = []
        self._rejected = False
        self._content_open = False
        self._content_asked = False
        self._expected.append((Stage.GREETING, 0, 0))

    # -- what the caller does --------------------------------------------------------------------------------------

    @property
    def stage(self) -> Stage | None:
        """What is awaited now; None: nothing."""
        if self._content_open:
            return Stage.BODY
        return self._expected[0][0] if self._expected else None

    def take(self) -> bytes:
        """What is to be sent now."""
        if not self._out:
            return b""
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        return data

    def begin(self, mail: Mail) -> None:
        """Start a transaction; it is over when ``phase`` is READY again, or CLOSED. Raises RuntimeError when not READY.

        ``mail.results`` then has one result for each recipient, or None where ``failure`` tells for all of them.
        """
        if self.phase is not Phase.READY:
            raise RuntimeError(f"a transaction begun while {self.phase.value}")
        server, manner = self.server, self.manner
        mail.results = [None] * len(mail.recipients)
        mail.plan(server, manner)
        self._mail = mail
        self._accepted = []
        self._rejected = self._content_asked = False
        self.phase = Phase.BUSY
        if self.transactions:
            # The connection was kept: is it still alive, and in its initial state? (RFC 5321 4.1.1.5)
            self._command(Stage.RSET, "RSET")
        if manner.xforward and "XFORWARD" in server.keywords:
            first, second = commands.xforward_commands(mail.envelope.origin, server.keywords["XFORWARD"], mail.queue_id)
            if first:
                self._command(Stage.XFORWARD_NAME, first)
            if second:
                self._command(Stage.XFORWARD_PROTO, second)
        utf8 = mail.envelope.smtputf8
        self._command(
            Stage.MAIL,
            commands.mail_command(
                mail.envelope,
                mail.sender,
                mail.size,
                server,
                converting=mail.converting,
                binary=mail.binary,
                quote=manner.quote,
            )
            # RFC 4954 5: who submitted it is not known here.
            + (" AUTH=<>" if self.security.authenticated else ""),
        )
        for index, (recipient, address) in enumerate(zip(mail.recipients, mail.addresses, strict=True)):
            self._command(
                Stage.RCPT,
                commands.rcpt_command(recipient, address, server, smtputf8=utf8, quote=manner.quote),
                index,
            )
        if not mail.binary and (not mail.probe or manner.probe_to_data):
            self._command(Stage.DATA, "DATA")
        self._pump()

    def secured(self, binding: bytes, *, verified: bool) -> None:
        """TLS is there. Nothing that the server said before counts (RFC 3207 4.2), nor is any of it left over."""
        first = self.wants_tls
        self.wants_tls = False
        security, server = self.security, self.server
        security.active, security.binding, security.verified = True, binding, verified
        self._parser = ReplyParser()
        self._partial = b""
        self._pipelining = False
        server.keywords = {}
        server.size_limit = 0
        if first:
            self._hello(Stage.LHLO if self.manner.lmtp else Stage.EHLO)

    def content_sent(self) -> None:
        """The whole content, its end included, was given to the connection."""
        self._content_open = False

    def quit(self) -> None:
        """Say QUIT. The reply need not be waited for (smtp_skip_quit_response)."""
        if self.phase in (Phase.READY, Phase.GREETING):
            self.phase = Phase.CLOSED
            self._say(Stage.QUIT, b"QUIT\r\n", 0, 6)

    def feed(self, data: bytes) -> None:
        """Bytes from the peer."""
        if self.wants_tls:
            return self._ignore()
        try:
            replies = self._parser.feed(self._filtered(data) if self._filter else data)
        except ReplyError as error:
            # What was said before it still counts.
            self._answer(error.replies)
            return self._ignore() if self.wants_tls else self._protocol_error(str(error))
        return self._answer(replies)

    def _ignore(self) -> None:
        """What stands in the clear behind the reply to STARTTLS, be it a reply or not: somebody put it there."""
        self.notes.append(f"host {self.server.relay} sent more than the reply to STARTTLS: ignored")

    def _answer(self, replies: Sequence[Reply]) -> None:
        for reply in replies:
            if self.wants_tls:
                return self._ignore()
            self.answered += 1
            if self.transcript is not None:
                self.transcript.heard(reply)
            if not self._expected:
                # RFC 5321 3.8: 421 may come at any time.
                self.must_close = True
                if self.phase is Phase.BUSY:
                    self._protocol_error(f"a reply that nothing asked for: {said(reply)[:200]}")
                continue
            stage, index, size = self._expected.popleft()
            self._unanswered -= size
            _HANDLERS[stage](self, reply, index)
            if self.phase is Phase.BUSY:
                self._pump()
        return None

    def lost(self, timed_out: bool) -> None:
        """The connection is gone, or the peer did not answer in time."""
        stage = self.stage
        phase, self.phase = self.phase, Phase.CLOSED
        self.must_close = True
        if phase is Phase.CLOSED:
            return
        if phase is Phase.READY or stage is Stage.RSET:
            self.stale = True
            return
        words = (stage or Stage.MAIL).words
        name = self.server.name
        text = (
            f"conversation with {name} timed out while {words}"
            if timed_out
            else f"lost connection with {name} while {words}"
        )
        self.failure = Trouble("4.4.2", text, throttle=True)
        # Some TLS fails only once data is under way.
        self.security.failed = self.security.active and not self.security.required

    # -- commands ----------------------------------------------------------------------------------------------------

    def send(self, stage: Stage, line: str) -> None:
        """A command of the handshake."""
        self._say(stage, f"{line}\r\n".encode(), 0, 0)

    def ready(self) -> None:
        """The handshake is over."""
        self.phase = Phase.READY

    def close(self) -> None:
        """The connection is of no further use; ``failure`` says why."""
        self.must_close = True
        self.phase = Phase.CLOSED
        self._expected.clear()

    def _say(self, stage: Stage, line: bytes, index: int, size: int) -> None:
        self._out.append(line)
        self._expected.append((stage, index, size))
        if self.transcript is not None:
            self.transcript.said(stage, line)

    def _command(self, stage: Stage, text: str, index: int = 0) -> None:
        self._todo.append((stage, text.encode("utf-8", "surrogateescape") + b"\r\n", index))

    def _pump(self) -> None:
        """Send as many of the commands as may go now; end the transaction when nothing is left to be said."""
        todo = self._todo
        if self._rejected and todo:
            todo.clear()
        while todo:
            stage, line, index = todo[0]
            if self._expected:
                if not self._pipelining or self._unanswered + len(line) > _WINDOW:
                    return
            elif stage is Stage.DATA and not self._accepted:
                todo.clear()
                break
            todo.popleft()
            self._say(stage, line, index, len(line))
            self._unanswered += len(line)
        if self._expected:
            return
        mail = self._mail
        if mail.binary and self._accepted and not self._rejected and not mail.probe and not self._content_asked:
            # RFC 3030 2: no DATA, no 354; the content goes when somebody is there to receive it.
            self._open_content()
            return
        self._end_transaction()

    def _open_content(self) -> None:
        self.wants_content = self._content_open = self._content_asked = True
        if self.transcript is not None:
            self.transcript.noted("the message")
        # LMTP: one reply for each accepted recipient (RFC 2033 4.2).
        for _ in self._accepted if self.manner.lmtp else (0,):
            self._expected.append((Stage.DOT, 0, 0))

    def _end_transaction(self) -> None:
        self.transactions += 1
        self.wants_content = self._content_open = False
        if self.phase is Phase.BUSY:
            self.phase = Phase.READY

    def _refusal(self, reply: Reply, stage: Stage) -> Trouble:
        """The peer said no."""
        self._check_code(reply.code)
        text = said(reply)
        words = f"host {self.server.name} said: {text} (in reply to {stage.request})"
        status = reply.enhanced or dsn.for_reply(reply.code)
        if status[:1] not in ("4", "5"):
            self.must_close = True
            return Trouble("5.5.0", f"Protocol error: {words}", text, self.server.host)
        return Trouble(status, words, text, self.server.host)

    def _check_code(self, code: int) -> None:
        # Replies that say that a command was not understood: the peer may be in any state (Postfix smtp_check_code).
        if not 400 <= code <= 599 or code == 555 or 500 <= code < 510 or code == 421:
            self.must_close = True
            if self.transcript is not None and code != 421:
                self.transcript.troubles.add("protocol")

    def _fail_rest(self, trouble: Trouble) -> None:
        results = self._mail.results
        for index, result in enumerate(results):
            if result is None:
                results[index] = trouble

    def _protocol_error(self, what: str) -> None:
        stage = self.stage or Stage.MAIL
        self.must_close = True
        if self.transcript is not None:
            self.transcript.noted(what)
            self.transcript.troubles.add("protocol")
        if self.phase not in (Phase.CLOSED, Phase.READY):
            text = f"host {self.server.name} does not speak SMTP: {printable(what)} (while {stage.words})"
            self.failure = Trouble("4.5.0", text, remote_mta=self.server.host, throttle=True)
        self.phase = Phase.CLOSED
        self._expected.clear()

    # -- replies: the handshake --------------------------------------------------------------------------------------

    def _refused(self, reply: Reply, status: str = "") -> None:
        self._check_code(reply.code)
        text = said(reply)
        status = status or reply.enhanced or dsn.for_reply(reply.code)
        if status[:1] not in ("4", "5"):
            status = "5.5.0"
        self.failure = Trouble(
            status,
            f"host {self.server.name} refused to talk to me: {text}",
            text,
            self.server.host,
            throttle=True,
        )
        self.must_close = True
        self.quit()

    def _on_greeting(self, reply: Reply, _: int) -> None:
        kind = reply.code // 100
        if kind != 2:
            status = reply.enhanced or dsn.for_reply(reply.code)
            if kind == 5 and self.manner.skip_5xx_greeting:
                status = dsn.with_class(status, "4")
            self._refused(reply, status)
            return
        manner = self.manner
        words = reply.lines[0].split()
        if words and words[0].lower() == manner.hostname.lower() and self._watch_loops:
            self.notes.append(f"host {self.server.relay} greeted me with my own hostname {manner.hostname}")
        pix = frozenset[str]()
        if manner.pix and not reply.text.strip("20 *\t"):
            # A PIX firewall masks the greeting with asterisks.
            pix = manner.pix if self._old_message else manner.pix - {"delay_dotcrlf"}
            self.notes.append(f"enabling PIX workarounds: {' '.join(sorted(pix))} for {self.server.relay}")
            self.server.delay_dot = "delay_dotcrlf" in pix
        if manner.lmtp:
            self._hello(Stage.LHLO)
            return
        self._esmtp = manner.always_ehlo or any(word.upper() == "ESMTP" for word in words[1:])
        if manner.never_ehlo or "disable_esmtp" in pix:
            self._esmtp = False
        self._hello(Stage.EHLO if self._esmtp else Stage.HELO)

    def _hello(self, stage: Stage) -> None:
        self.send(stage, f"{stage.name} {self.manner.helo_name}")

    def _on_ehlo(self, reply: Reply, _: int) -> None:
        if reply.code // 100 != 2:
            if reply.code == 421 or self.manner.lmtp:
                self._refused(reply)
            else:
                # RFC 5321 3.2: fall back to HELO.
                self._esmtp = False
                self._hello(Stage.HELO)
            return
        server = self.server
        words = reply.lines[0].split()
        if words and words[0].lower() == self.manner.hostname.lower() and self._watch_loops:
            self.notes.append(f"host {server.relay} replied to HELO/EHLO with my own hostname {self.manner.hostname}")
            self.failure = Trouble(
                "5.4.6" if server.best else "4.4.6", f"mail for {self._nexthop} loops back to myself", throttle=True
            )
            self.quit()
            return
        found = extensions.parse_reply(reply.lines)
        server.keywords = {name: values for name, values in found.items() if name not in self._discard}
        server.size_limit = extensions.size_limit(server.keywords) or 0
        if "SMTPUTF8" in server.keywords:
            # RFC 6531 3.1 (6): who takes UTF-8 headers takes 8-bit content.
            server.keywords.setdefault("8BITMIME", ())
        self._pipelining = "PIPELINING" in server.keywords
        handshake.after_hello(self)

    def _on_helo(self, reply: Reply, _: int) -> None:
        if reply.code // 100 != 2:
            self._refused(reply)
            return
        handshake.after_hello(self)

    # -- replies: the transaction ------------------------------------------------------------------------------------

    def _on_rset(self, reply: Reply, _: int) -> None:
        if reply.code // 100 != 2:
            self.stale = self.must_close = True
            self.phase = Phase.CLOSED
            self._expected.clear()

    def _on_xforward(self, reply: Reply, _: int) -> None:
        if reply.code // 100 != 2:
            self.notes.append(f"host {self.server.relay} said: {said(reply)} (in reply to XFORWARD command)")

    def _on_mail(self, reply: Reply, _: int) -> None:
        if reply.code // 100 != 2:
            self._rejected = True
            self._fail_rest(self._refusal(reply, Stage.MAIL))

    def _on_rcpt(self, reply: Reply, index: int) -> None:
        if self._rejected:
            return
        if reply.code // 100 != 2:
            self._mail.results[index] = self._refusal(reply, Stage.RCPT)
            return
        self._accepted.append(index)
        if self._mail.probe and not self.manner.probe_to_data:
            self._mail.results[index] = Sent(reply.enhanced or "2.0.0", said(reply))

    def _on_data(self, reply: Reply, _: int) -> None:
        if reply.code // 100 != 3:
            if self._accepted and not self._rejected:
                self._fail_rest(self._refusal(reply, Stage.DATA))
            return
        if self._mail.probe and self._accepted:
            # The peer now waits for content that there is not: the only way out is to hang up.
            for index in self._accepted:
                self._mail.results[index] = Sent("2.0.0", said(reply))
            self.must_close = True
            return
        if self._accepted and not self._rejected:
            self._open_content()
        else:
            # RFC 2920 3.1: DATA went out with the recipients, none of which was taken: send nothing.
            self._say(Stage.DOT, b".\r\n", 0, 0)

    def _on_dot(self, reply: Reply, _: int) -> None:
        results = self._mail.results
        if not self._accepted:
            return
        index = self._accepted[0]
        good = reply.code // 100 == 2
        if self._content_open:
            # The reply came before the end of the content: no message is complete there, whatever it says.
            self.must_close = True
            self.wants_content = self._content_open = False
            if good:
                self._protocol_error("a positive reply before the end of the message was sent")
                return
            self._fail_rest(self._refusal(reply, Stage.DOT))
            self._expected.clear()
            self.phase = Phase.CLOSED
            return
        result: Result = Sent(reply.enhanced or "2.0.0", said(reply)) if good else self._refusal(reply, Stage.DOT)
        if self.manner.lmtp:
            del self._accepted[0]
            results[index] = result
        else:
            for index in self._accepted:
                results[index] = result

    def _on_quit(self, reply: Reply, _: int) -> None:
        self.phase = Phase.CLOSED

    # -- reply filter --------------------------------------------------------------------------------------------------

    def _filtered(self, data: bytes) -> bytes:
        """smtp_reply_filter: whole lines only; a line that never ends is left to the parser to refuse."""
        assert self._filter is not None
        whole, newline, rest = (self._partial + data).rpartition(b"\n")
        self._partial = rest
        if len(rest) > 65536:
            self._partial = b""
            return whole + newline + rest
        if not newline:
            return b""
        lines = []
        for line in whole.split(b"\n"):
            text = line.rstrip(b"\r").decode("utf-8", "replace")
            new = self._filter(text)
            if new is None:
                lines.append(line)
            else:
                self.notes.append(
                    f'{self.server.relay}: replacing server reply "{printable(text)}" with "{printable(new)}"'
                )
                lines.append(new.encode())
        return b"\n".join(lines) + b"\n"


_HANDLERS: dict[Stage, Callable[[Conversation, Reply, int], None]] = {
    Stage.GREETING: Conversation._on_greeting,
    Stage.EHLO: Conversation._on_ehlo,
    Stage.LHLO: Conversation._on_ehlo,
    Stage.HELO: Conversation._on_helo,
    Stage.STARTTLS: handshake.on_starttls,
    Stage.AUTH: handshake.on_auth,
    Stage.RSET: Conversation._on_rset,
    Stage.XFORWARD_NAME: Conversation._on_xforward,
    Stage.XFORWARD_PROTO: Conversation._on_xforward,
    Stage.MAIL: Conversation._on_mail,
    Stage.RCPT: Conversation._on_rcpt,
    Stage.DATA: Conversation._on_data,
    Stage.DOT: Conversation._on_dot,
    Stage.QUIT: Conversation._on_quit,
}
