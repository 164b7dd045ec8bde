"""Lines of Dovecot's authentication protocol 1.2, the server's side. Pure.

A line is a command and parameters parted by TABs; what would part them is escaped by \\001.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

VERSION = (1, 2)
LINE_LIMIT = 16_384
"""Bytes, as Dovecot's own."""
_ESCAPES = {"0": "\0", "1": "\1", "t": "\t", "r": "\r", "n": "\n", "l": "\n"}
_ESCAPED = re.compile("\x01(.?)", re.DOTALL)
# Postfix says "unknown" where XCLIENT told it of none.
_ADDRESS = re.compile(r"[0-9A-Za-z.:%_-]{0,100}")
_SPECIAL = str.maketrans({"\0": "\x010", "\1": "\x011", "\t": "\x01t", "\r": "\x01r", "\n": "\x01n"})
# What a client should know of a mechanism: Postfix leaves out those with properties that it was told to avoid.
_PROPERTIES = {
    "PLAIN": ("plaintext",),
    "LOGIN": ("plaintext",),
    "OAUTHBEARER": ("plaintext",),
    "XOAUTH2": ("plaintext",),
    "CRAM-MD5": ("dictionary", "active"),
    "SCRAM-SHA-1": ("mutual-auth",),
    "SCRAM-SHA-256": ("mutual-auth",),
    "EXTERNAL": ("private",),
}


class ProtocolError(Exception):
    """The peer does not speak this protocol: the connection ends."""


@dataclass(frozen=True, slots=True)
class Auth:
    """AUTH: begin an exchange. ``initial`` None: no initial response came with it."""

    number: int
    mechanism: str
    parameters: dict[str, str]
    initial: bytes | None

    @property
    def secured(self) -> bool:
        """The client's connection is encrypted (``secured=tls``, or the older ``secured`` alone)."""
        return "secured" in self.parameters


class Continue(NamedTuple):
    number: int
    data: bytes


class Cancel(NamedTuple):
    number: int


Command = Auth | Continue | Cancel | None


def escape(text: str) -> str:
    return text.translate(_SPECIAL)


def unescape(text: str) -> str:
    return _ESCAPED.sub(lambda match: _ESCAPES.get(match[1], match[1]), text) if "\1" in text else text


def greeting(mechanisms: Iterable[str], pid: int, connection: int, cookie: str) -> bytes:
    """The server's handshake."""
    lines = [f"VERSION\t{VERSION[0]}\t{VERSION[1]}"]
    lines += ["\t".join(("MECH", name, *_PROPERTIES.get(name, ()))) for name in mechanisms]
    lines += [f"SPID\t{pid}", f"CUID\t{connection}", f"COOKIE\t{cookie}", "DONE"]
    return "".join(f"{line}\n" for line in lines).encode()


def parse(line: bytes) -> Command:
    """One line; None: nothing to be done. Raises ProtocolError."""
    words = line.decode("utf-8", "replace").split("\t")
    match words:
        case ["VERSION", major, *_]:
            if major != str(VERSION[0]):
                raise ProtocolError(f"the client speaks version {major[:20]} of the protocol, not {VERSION[0]}")
            return None
        case ["AUTH", number, mechanism, *rest]:
            return _auth(_number(number), mechanism, rest)
        case ["CONT", number, *rest]:
            return Continue(_number(number), _decode(rest[0] if rest else ""))
        case ["CANCEL", number, *_]:
            return Cancel(_number(number))
    # CPID, and whatever later versions may say.
    return None


def _auth(number: int, mechanism: str, rest: list[str]) -> Auth:
    parameters: dict[str, str] = {}
    initial: bytes | None = None
    for place, word in enumerate(rest):
        name, _, value = word.partition("=")
        if name == "resp":
            # It is the last one, and its base64 is not escaped.
            initial = _decode("\t".join(rest[place:]).partition("=")[2])
            break
        parameters[name] = unescape(value)
        if name in ("rip", "lip") and not _ADDRESS.fullmatch(parameters[name]):
            # Failures are counted by it, and it goes on to other servers.
            raise ProtocolError(f"{name} is not an address")
    return Auth(number, mechanism.upper(), parameters, initial)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise ProtocolError("a request has no number")
    return int(text)


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError("a response is not base64") from None


def ok(number: int, user: str, data: bytes | None) -> bytes:
    words = ["OK", str(number), f"user={escape(user)}"]
    if data is not None:
        words.append(f"resp={base64.b64encode(data).decode()}")
    return _line(words)


def challenge(number: int, data: bytes) -> bytes:
    return _line(["CONT", str(number), base64.b64encode(data).decode()])


def fail(number: int, cause: str) -> bytes:
    """``cause``: of wire.auth's Failure."""
    extra = {
        "temporary": ["temp", "code=temp_fail"],
        "delayed": ["temp", "code=temp_fail"],
        "disabled": ["user_disabled", "code=user_disabled"],
        "expired": ["pass_expired", "code=pass_expired"],
        "scope": ["authz", "code=authz_fail"],
    }.get(cause, [])
    return _line(["FAIL", str(number), *extra])


def _line(words: list[str]) -> bytes:
    return ("\t".join(words) + "\n").encode()
