"""What tables change in mail that leaves: generic(5) addresses, and header_checks(5) without what cannot be done here.

A table's trouble is the session's: it raises TableError, and the message waits.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from tubepost.common.mail import addresslist, header
from tubepost.common.mail.mime import Event, Kind, Parser, Where
from tubepost.common.system import log

Lookup = Callable[[str], Awaitable[str | None]]
Address = Callable[[str], Awaitable[str]]
"""The address that stands for another outside, or itself; external form."""

# Postfix header_opts(3): fields whose addresses are senders' or recipients'.
ADDRESS_FIELDS = frozenset(
    {
        b"apparently-to", b"bcc", b"cc", b"disposition-notification-to", b"errors-to", b"from", b"mail-followup-to",
        b"reply-to", b"resent-bcc", b"resent-cc", b"resent-from", b"resent-reply-to", b"resent-sender", b"resent-to",
        b"return-path", b"return-receipt-to", b"sender", b"to",
    }
)  # fmt: skip
_MIME_FIELDS = frozenset(
    {
        b"content-description", b"content-disposition", b"content-id", b"content-transfer-encoding", b"content-type",
        b"mime-version",
    }
)  # fmt: skip
_ACTION = re.compile(r"(\S+)\s*(.*)", re.DOTALL)
# Longer body lines are looked at in pieces (Postfix line_length_limit).
_LINE_PIECE = 2048


@dataclass(frozen=True, slots=True)
class Checks:
    """The tables; None where there is none."""

    header: Lookup | None = None
    mime_header: Lookup | None = None
    nested_header: Lookup | None = None
    body: Lookup | None = None
    generic: Address | None = None
    body_limit: int = 51200
    header_limit: int = 102400
    nesting_limit: int = 100
    boundary_limit: int = 2048
    token_limit: int = addresslist.TOKEN_LIMIT

    def __bool__(self) -> bool:
        return any((self.header, self.mime_header, self.nested_header, self.body, self.generic))


class Editor:
    """Of one message. ``edit`` is a content.Edit."""

    def __init__(self, checks: Checks, queue_id: str) -> None:
        self._checks = checks
        self._queue_id = queue_id
        self._seen = 0
        self._held = b""
        """The beginning of a body line whose end has not come."""

    async def edit(self, source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        checks = self._checks
        parser = Parser(
            header_limit=checks.header_limit,
            nesting_limit=checks.nesting_limit,
            boundary_limit=checks.boundary_limit,
        )
        primary = True
        whole = bool(checks.mime_header or checks.nested_header or checks.body)
        async for piece in source:
            if not primary and not whole:
                yield piece
                continue
            out = []
            for event in parser.feed(piece):
                out.append(await self._event(event))
                primary = primary and event.kind is Kind.FIELD
            yield b"".join(out)
            if not primary and not whole:
                # The rest needs no parser; what it holds back comes out now.
                yield b"".join([await self._event(event) for event in parser.finish()])
        if primary or whole:
            yield b"".join([await self._event(event) for event in parser.finish()])
        if self._held:
            yield await self._flush()

    async def _event(self, event: Event) -> bytes:
        if event.kind is Kind.BODY and self._checks.body is not None:
            # A line is judged whole, however the content was cut.
            raw = self._held + event.raw
            end = raw.rfind(b"\n") + 1
            if len(raw) - end > _LINE_PIECE:
                end = len(raw)
            self._held = raw[end:]
            return await self._body(raw[:end])
        before = await self._flush() if self._held else b""
        if event.kind is Kind.FIELD:
            return before + await self._field(event.raw, event.where)
        return before + event.raw

    async def _flush(self) -> bytes:
        raw, self._held = self._held, b""
        return await self._body(raw)

    async def _field(self, raw: bytes, where: Where) -> bytes:
        checks = self._checks
        name = raw[: raw.index(b":")].rstrip(b" \t").lower()
        if where is Where.MIME or name in _MIME_FIELDS:
            table = checks.mime_header or (checks.header if where is Where.PRIMARY else None)
        elif where is Where.NESTED:
            table = checks.nested_header
        else:
            table = checks.header
        if table is not None:
            raw = await self._checked(table, "header", raw)
            if not raw:
                return raw
        if where is Where.PRIMARY and checks.generic is not None and name in ADDRESS_FIELDS:
            # PREPEND may have made several fields of one.
            raw = b"".join([await self._generic(field) for field in header.scan(raw)])
        return raw

    async def _generic(self, field: header.Field) -> bytes:
        generic = self._checks.generic
        if generic is None or field.name not in ADDRESS_FIELDS:
            return field.raw
        value = field.value.decode("utf-8", "surrogateescape")
        found = addresslist.mailboxes(value, self._checks.token_limit)
        new = [
            await generic(mailbox.address) if addresslist.is_text(mailbox.address) else mailbox.address
            for mailbox in found
        ]
        if all(mailbox.address == address for mailbox, address in zip(found, new, strict=True)):
            return field.raw
        changed = addresslist.replace(value, found, new).encode("utf-8", "surrogateescape")
        return field.raw[: field.raw.index(b":") + 1] + changed

    async def _body(self, raw: bytes) -> bytes:
        checks = self._checks
        assert checks.body is not None
        out = []
        place = 0
        while place < len(raw):
            if checks.body_limit and self._seen >= checks.body_limit:
                out.append(raw[place:])
                break
            end = raw.find(b"\n", place, place + _LINE_PIECE + 1)
            stop = end + 1 if end >= 0 else min(len(raw), place + _LINE_PIECE)
            piece = raw[place:stop]
            self._seen += len(piece)
            out.append(await self._checked(checks.body, "body", piece))
            place = stop
        return b"".join(out)

    async def _checked(self, table: Lookup, context: str, raw: bytes) -> bytes:
        """One field or line through its table; what stands in its place, with its line end."""
        text = raw.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
        value = await table(text) if text else None
        if value is None:
            return raw
        match = _ACTION.match(value.strip())
        verb, argument = (match[1].upper(), match[2].strip()) if match else ("", "")
        end = raw[len(raw.rstrip(b"\r\n")) :]
        match verb:
            case "DUNNO" | "OK":
                return raw
            case "IGNORE":
                return b""
            case "STRIP":
                self._say("strip", context, text, argument)
                return b""
            case "INFO" | "WARN":
                self._say("info" if verb == "INFO" else "warning", context, text, argument)
                return raw
            case "PREPEND" | "REPLACE" if argument:
                new = argument.encode("utf-8", "surrogateescape")
                if context == "header" and not header.is_header(new):
                    self._complain(f'bad {verb} header text "{argument}" -- need "headername: headervalue"')
                    return raw
                self._say(verb.lower(), context, text, argument)
                return new + (end or b"\n") + (raw if verb == "PREPEND" else b"")
            case "REJECT" | "DISCARD" | "HOLD" | "FILTER" | "REDIRECT" | "BCC":
                # What changes when or where a message goes is decided before it is on its way.
                self._complain(f"{verb} action is not possible while mail is delivered")
            case _:
                self._complain(f"unknown command: {value[:100]}")
        return raw

    def _say(self, action: str, context: str, text: str, argument: str) -> None:
        log.info(f"{self._queue_id}: {action}: {context} {text[:200]}{': ' + argument if argument else ''}")

    def _complain(self, what: str) -> None:
        log.warning(f"{self._queue_id}: smtp checks: {what}")
