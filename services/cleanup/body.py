"""The body of a message on its way to the queue file, chunk by chunk: parts, checks, unwanted characters. Pure."""

from tubepost.common.mail import mime
from tubepost.common.mail.mime import Event, Kind, Where

from tubepost.services.cleanup.checks import LINE_PIECE, Checker
from tubepost.services.cleanup.policy import Policy
from tubepost.services.cleanup.protocol import Fault, Message


class Body:
    """``feed`` chunks, then ``finish``: both give what is to be written. Only for messages that are looked into."""

    __slots__ = ("_checker", "_message", "_offset", "_parser", "_partial", "_policy")

    def __init__(self, message: Message, policy: Policy, head: bytes) -> None:
        """``head``: the message's header as it will be, for the structure that it announces."""
        self._message = message
        self._policy = policy
        self._checker = Checker(message, policy)
        self._offset = 0
        # The begun line at the end of a chunk: a check is to see it whole.
        self._partial = b""
        self._parser: mime.Parser | None = None
        if not policy.disable_mime_input_processing:
            self._parser = mime.Parser(
                header_limit=policy.header_size_limit,
                nesting_limit=policy.mime_nesting_limit,
                boundary_limit=policy.mime_boundary_length_limit,
                look_for_8bit=policy.strict_7bit_headers or policy.strict_8bitmime_body,
            )
            self._parser.feed(head + b"\n")

    async def feed(self, chunk: bytes) -> bytes:
        """Raises Trouble."""
        if self._parser is None:
            return await self._lines(chunk)
        return await self._pass(self._parser.feed(chunk))

    async def finish(self) -> bytes:
        if self._parser is None:
            return await self._flush()
        out = await self._pass(self._parser.finish()) + await self._flush()
        self._judge(self._parser.faults)
        return out

    async def _pass(self, events: list[Event]) -> bytes:
        out: list[bytes] = []
        for event in events:
            if event.kind is not Kind.BODY and self._partial:
                out.append(await self._flush())
            if event.kind is Kind.FIELD:
                if event.where is not Where.PRIMARY:
                    out += await self._checker.field(event.raw, event.where)
                    self._note_encoding(event)
            elif event.kind is Kind.SEPARATOR:
                self._offset = 0
                out.append(event.raw)
            else:
                out.append(await self._lines(event.raw))
        return b"".join(out)

    async def _lines(self, raw: bytes) -> bytes:
        if self._policy.body_checks is None:
            return raw
        if self._partial:
            raw = self._partial + raw
            self._partial = b""
        whole = raw.rfind(b"\n") + 1
        if len(raw) - whole < LINE_PIECE:
            self._partial = raw[whole:]
            raw = raw[:whole]
        return await self._check(raw)

    async def _flush(self) -> bytes:
        raw, self._partial = self._partial, b""
        return await self._check(raw)

    async def _check(self, raw: bytes) -> bytes:
        checked = await self._checker.body(raw, self._offset) if raw and self._message.filters else raw
        self._offset += len(raw)
        return checked

    def _note_encoding(self, event: Event) -> None:
        if (
            self._policy.detect_8bit_encoding_header
            and self._message.encoding == "7bit"
            and event.entity.domain != b"7bit"
        ):
            self._message.encoding = "8bit"

    def _judge(self, faults: dict[mime.Fault, bytes]) -> None:
        """Postfix strict_*, and nesting beyond mime_nesting_limit. All are refused with 5.6.0."""
        policy, message = self._policy, self._message
        counted = {
            mime.Fault.NESTING: True,
            mime.Fault.EIGHT_BIT_HEADER: policy.strict_7bit_headers,
            mime.Fault.EIGHT_BIT_BODY: policy.strict_8bitmime_body,
            mime.Fault.ENCODING_DOMAIN: policy.strict_mime_encoding_domain,
            mime.Fault.TRUNCATED_HEADER: False,
        }
        for fault in mime.Fault:
            if fault in faults and counted[fault]:
                text = faults[fault].decode("utf-8", "replace").strip()[:100]
                message.act("reject", f"mime-error {fault.value}:", text, "")
                if Fault.CONTENT not in message.faults:
                    message.fail(Fault.CONTENT, f"5.6.0 {fault.value}")


def strip_characters(message: Message, policy: Policy, chunk: bytes) -> bytes:
    """Characters that are refused, taken out or replaced, in any part of the content.

    Lines end with LF here, so each CR stands alone (cleanup_replace_stray_cr_lf); binary content is left as it is.
    """
    if policy.replace_stray_cr and message.encoding != "binary" and b"\r" in chunk:
        chunk = chunk.replace(b"\r", b" ")
    if not message.filters:
        return chunk
    if policy.reject_characters and len(chunk.translate(None, policy.reject_characters)) != len(chunk):
        Checker(message, policy).reject("content", "", "disallowed character")
        return chunk
    return chunk.translate(None, policy.strip_characters) if policy.strip_characters else chunk
