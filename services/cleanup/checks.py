"""header_checks(5) and body_checks(5): the actions of content tables. Pure."""

import re

from tubepost.common.mail import dsn, header
from tubepost.common.mail.header import Field
from tubepost.common.mail.mime import Where

from tubepost.services.cleanup.policy import Check, Policy
from tubepost.services.cleanup.protocol import Fault, Message

# Fields that mime_header_checks sees wherever they stand (header_checks(5)).
MIME_FIELDS = frozenset(
    {
        b"content-description", b"content-disposition", b"content-id", b"content-transfer-encoding", b"content-type",
        b"mime-version",
    }
)  # fmt: skip
LINE_PIECE = 2048
"""Postfix line_length_limit: a longer body line is looked at in pieces."""
_ACTION = re.compile(r"(\S+)\s*(.*)", re.DOTALL)


class Checker:
    """Asks the tables and carries their actions out on one message."""

    __slots__ = ("_message", "_policy")

    def __init__(self, message: Message, policy: Policy) -> None:
        self._message = message
        self._policy = policy

    async def fields(self, fields: list[Field]) -> list[Field]:
        """The primary header with what the tables make of it. Raises Trouble."""
        policy = self._policy
        if not self._message.filters or not (policy.header_checks or policy.mime_header_checks):
            return fields
        out: list[bytes] = []
        for field in fields:
            out += await self.field(field.raw, Where.PRIMARY)
        # A replacement may be another field, and PREPEND makes new ones.
        return header.scan(b"".join(out))

    async def field(self, raw: bytes, where: Where) -> list[bytes]:
        """One field of the message or of a part of it; what is to stand in its place."""
        policy = self._policy
        name = raw[: raw.index(b":")].rstrip(b" \t").lower()
        if where is Where.MIME or name in MIME_FIELDS:
            check = policy.mime_header_checks
        elif where is Where.NESTED:
            check = policy.nested_header_checks
        else:
            check = policy.header_checks
        if check is None or not self._message.filters:
            return [raw]
        if policy.header_size_limit and len(raw) > policy.header_size_limit:
            raw = header.truncate(raw, policy.header_size_limit)
        end = b"\r\n" if raw.endswith(b"\r\n") else b"\n"
        text = raw.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
        value = await check.lookup(text)
        if value is None:
            return [raw]
        return [piece if piece is raw else piece + end for piece in self._act(check, "header", text, raw, value)]

    async def body(self, raw: bytes, offset: int) -> bytes:
        """Whole lines of a body segment that start at ``offset`` in it; what is to stand in their place."""
        check, limit = self._policy.body_checks, self._policy.body_checks_size_limit
        if check is None or (limit and offset >= limit):
            return raw
        out: list[bytes] = []
        place = 0
        while place < len(raw):
            if not self._message.filters or (limit and offset + place >= limit):
                out.append(raw[place:])
                break
            end = raw.find(b"\n", place, place + LINE_PIECE + 1)
            whole = end >= 0
            stop = end + 1 if whole else min(len(raw), place + LINE_PIECE)
            piece = raw[place:stop]
            out += await self._line(check, piece, b"\n" if whole else b"")
            place = stop
        return b"".join(out)

    async def _line(self, check: Check, piece: bytes, end: bytes) -> list[bytes]:
        text = piece.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
        value = await check.lookup(text) if text else None
        if value is None:
            return [piece]
        return [
            result if result is piece else result + (end or b"")
            for result in self._act(check, "body", text, piece, value)
        ]

    def _act(self, check: Check, context: str, text: str, raw: bytes, value: str) -> list[bytes]:
        """Carry out one action; gives the pieces to pass on, ``raw`` itself or new ones without line end."""
        message = self._message
        match = _ACTION.match(value.strip())
        verb, argument = (match[1].upper(), match[2].strip()) if match else ("", "")
        match verb:
            case "DUNNO" | "OK":
                pass
            case "REJECT":
                self.reject(context, text, argument)
            case "WARN":
                message.act("warning", context, text, argument)
            case "INFO":
                message.act("info", context, text, argument)
            case "IGNORE":
                return []
            case "STRIP":
                message.act("strip", context, text, argument)
                return []
            case "DISCARD":
                message.act("discard", context, text, argument)
                message.discard = True
                message.filters = False
            case "HOLD":
                if not message.hold and not message.discard:
                    message.act("hold", context, text, argument)
                    message.hold = True
            case "PASS":
                message.act("pass", context, text, argument)
                message.filters = False
            case "PREPEND" | "REPLACE":
                return self._text(check, context, text, raw, verb, argument)
            case "FILTER":
                if ":" not in argument:
                    self._complain(check, f'bad FILTER command "{argument}" -- need transport:destination')
                else:
                    message.content_filter = argument
                    message.act("filter", context, text, argument)
            case "REDIRECT":
                if "@" not in argument:
                    self._complain(check, f'bad REDIRECT target "{argument}" -- need user@domain')
                else:
                    message.redirect = argument
                    message.act("redirect", context, text, argument)
                    message.filters = False
            case "BCC":
                if "@" not in argument:
                    self._complain(check, f'bad BCC address "{argument}" -- need user@domain')
                else:
                    message.copies.append(argument)
                    message.act("bcc", context, text, argument)
            case _:
                self._complain(check, f"unknown command: {value[:100]}")
        return [raw]

    def reject(self, context: str, text: str, argument: str) -> None:
        """REJECT: optional text with an optional 4.x.x or 5.x.x before it."""
        message = self._message
        _, default, words = Fault.CONTENT.value
        status, words = dsn.split(argument, default) if argument else (default, words)
        if status[0] == "2":
            message.warn(f"bad DSN action in {argument} -- need 4.x.x or 5.x.x")
            status = dsn.with_class(status, "4")
        reason = f"{status} {words}"
        message.fail(Fault.DEFER if status[0] == "4" else Fault.CONTENT, reason)
        message.filters = False
        message.act("reject", context, text, reason)

    def _text(self, check: Check, context: str, text: str, raw: bytes, verb: str, argument: str) -> list[bytes]:
        if not argument:
            self._complain(check, f"{verb} action without text")
            return [raw]
        new = argument.encode("utf-8", "surrogateescape")
        if context == "header" and not header.is_header(new):
            self._complain(check, f'bad {verb} header text "{argument}" -- need "headername: headervalue"')
            return [raw]
        self._message.act(verb.lower(), context, text, argument)
        return [new, raw] if verb == "PREPEND" else [new]

    def _complain(self, check: Check, what: str) -> None:
        self._message.warn(f"{check.title} map: {what}")
