"""8-bit and binary content to 7-bit (RFC 6152 3, RFC 3030 3), pushed in chunks, memory bounded.

Leaf parts labelled ``8bit`` become quoted-printable, those labelled ``binary`` base64; multiparts and messages with
such parts are labelled ``7bit``. Parts that say ``7bit`` are passed on as they are, even where that is not true (as
Postfix): without a label there is no way to say what the bytes mean.

The result has LF line ends. Content that came with BINARYMIME is CRLF throughout: ``binary=True`` understands it.
"""

from tubepost.common.mail import encode, mime
from tubepost.common.mail.mime import Event, Kind

_BASE64_PORTION = 57 * 256
# A line of text is held back until its end is there, for its last space must be known; a longer one is cut.
_LINE_PORTION = 16384


class Downgrade:
    """``feed`` chunks of a message, ``finish`` at its end; both give the 7-bit content ready so far."""

    def __init__(
        self, *, binary: bool = False, header_limit: int = 0, nesting_limit: int = 100, boundary_limit: int = 2048
    ) -> None:
        """``binary``: lines come with CRLF. The limits as in ``mime.Parser``."""
        self._parser = mime.Parser(
            header_limit=header_limit, nesting_limit=nesting_limit, boundary_limit=boundary_limit
        )
        self._binary = binary
        self._mode = b""
        self._held = bytearray()

    def feed(self, chunk: bytes) -> bytes:
        return b"".join([self._take(event) for event in self._parser.feed(chunk)])

    def finish(self) -> bytes:
        out = [self._take(event) for event in self._parser.finish()]
        out.append(self._flush(False))
        return b"".join(out)

    def _take(self, event: Event) -> bytes:
        kind = event.kind
        if kind is Kind.BODY:
            return self._body(event.raw)
        if kind is Kind.BOUNDARY:
            out = self._flush(True)
            self._mode = b""
            return out + self._lines(event.raw)
        if kind is Kind.FIELD:
            # The true encoding is known when the header has ended.
            name = event.raw[: event.raw.index(b":")].rstrip(b" \t").lower()
            if name == b"content-transfer-encoding" and event.entity.domain != b"7bit":
                return b""
            return self._lines(event.raw)
        return self._label(event)

    def _label(self, event: Event) -> bytes:
        """The end of a header: say which encoding follows."""
        content_type, _, domain = event.entity
        raw = event.raw
        self._mode = b""
        if domain == b"7bit":
            return self._lines(raw)
        if content_type.type == b"multipart" or (content_type.type == b"message" and content_type.subtype != b"global"):
            # RFC 2045 6.4: composite types take identity encodings only.
            label = b"7bit"
        else:
            label = b"base64" if domain == b"binary" else b"quoted-printable"
            self._mode = label
        return b"Content-Transfer-Encoding: " + label + b"\n" + self._lines(raw)

    def _lines(self, raw: bytes) -> bytes:
        return raw.replace(b"\r\n", b"\n") if self._binary else raw

    def _body(self, raw: bytes) -> bytes:
        if not self._mode:
            return self._lines(self._rejoined(raw)) if self._binary else raw
        held = self._held
        held += raw
        if self._mode == b"base64":
            # The last line end may turn out to be the boundary's; RFC 2046 5.1.1.
            ready = (len(held) - 2) // 57 * 57
            if ready < _BASE64_PORTION:
                return b""
            out = encode.base64_lines(bytes(held[:ready]))
            del held[:ready]
            return out
        return self._quoted()

    def _rejoined(self, raw: bytes) -> bytes:
        """Keep a CR at the end of a chunk until what follows is known."""
        whole = bytes(self._held) + raw
        self._held.clear()
        if whole.endswith(b"\r"):
            self._held += b"\r"
            return whole[:-1]
        return whole

    def _quoted(self) -> bytes:
        held = self._held
        end = held.rfind(b"\n") + 1
        out: list[bytes] = []
        if end:
            for line in bytes(held[:end]).split(b"\n")[:-1]:
                if self._binary and line.endswith(b"\r"):
                    line = line[:-1]
                out.append(encode.qp_line(line))
            del held[:end]
        while len(held) > _LINE_PORTION:
            # A soft line break in the middle of a long line.
            cut = _LINE_PORTION - (held[_LINE_PORTION - 1] == 13)
            out.append(encode.qp_line(bytes(held[:cut]))[:-1] + b"=\n")
            del held[:cut]
        return b"".join(out)

    def _flush(self, delimited: bool) -> bytes:
        """The end of a part (``delimited``: by a boundary line) or of the message."""
        rest = bytes(self._held)
        self._held.clear()
        if not rest:
            return b""
        if self._mode == b"base64":
            if delimited:
                rest = rest[:-2] if rest.endswith(b"\r\n") else rest[:-1] if rest.endswith(b"\n") else rest
            return encode.base64_lines(rest)
        if self._mode:
            return encode.qp_line(rest)
        return rest
