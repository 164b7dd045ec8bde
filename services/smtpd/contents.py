"""The content of a message as a session receives it: DATA, BDAT, and chunks that are thrown away. Pure."""

from tubepost.common.smtp.content import ChunkContent, DataContent, Skipped, worth_skipping

from tubepost.services.smtpd import events
from tubepost.services.smtpd.lines import Lines
from tubepost.services.smtpd.settings import Settings
from tubepost.services.smtpd.tables import AFTER_BDAT, AFTER_DATA, END_OF_MESSAGE, State


class Contents(Lines):
    """The transaction of ``protocol.Machine``: from 354, or a chunk's first byte, to the end of the message."""

    def __init__(self, settings: Settings, client: str) -> None:
        super().__init__(settings, client)
        self.smtputf8 = False
        self.overshoot = 0
        self.encoding = ""
        self.chunk_size = 0
        self.chunk_last = False
        self._data: DataContent | None = None
        self._chunk: ChunkContent | None = None
        self._skipped: Skipped | None = None
        self._skip_reply = ""
        self._lost = False

    @property
    def in_content(self) -> bool:
        """True while message content is due."""
        return self.state is State.CONTENT or self.state is State.CHUNK or self._skipped is not None

    @property
    def content_due(self) -> int:
        """Bytes of content that are certainly still to come: nothing is decided before them. 0: the next may decide."""
        if self.state is State.CONTENT:
            return 0
        if self.state is State.CHUNK and self._chunk is not None:
            return self._chunk.left
        return self._skipped.left if self._skipped is not None else 0

    @property
    def content_size(self) -> int:
        """Bytes of content so far."""
        content = self._data or self._chunk
        return content.size if content is not None else 0

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
            content, rest = self._data.feed(self.take_rest())
            finished = self._data.finished
        else:
            chunk = self._chunk
            assert chunk is not None
            if chunk.left and not self._buffered():
                return False
            content, rest = chunk.feed(self.take_rest())
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

    def _next_skipped(self) -> bool:
        skipped = self._skipped
        assert skipped is not None
        if skipped.left and not self._buffered():
            return False
        self._buffer = skipped.feed(self.take_rest())
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
        self.flush_history()
