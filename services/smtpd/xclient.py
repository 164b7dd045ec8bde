"""The attributes of XCLIENT and XFORWARD, checked (Postfix: XCLIENT_README, XFORWARD_README). Pure."""

import ipaddress
import re

from tubepost.common.smtp import xtext

XCLIENT_NAMES = ("NAME", "ADDR", "PROTO", "HELO", "REVERSE_NAME", "PORT", "LOGIN", "DESTADDR", "DESTPORT")
XFORWARD_NAMES = ("NAME", "ADDR", "PROTO", "HELO", "SOURCE", "PORT", "IDENT")

UNAVAILABLE = "[UNAVAILABLE]"
TEMPORARY = "[TEMPUNAVAIL]"

_VALUE_LIMIT = 255
_HOSTNAME = re.compile(r"(?=.{1,255}\Z)(?!.*\.\.)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_BAD_LABEL = re.compile(r"[^.]{64}|\.-|-\.")
# RFC 5198 2: nor C1 controls and what some readers take for the end of a line.
_NEUTER = re.compile(r"[ <>()\\\";@\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class AttributeRefused(Exception):
    """``reply`` is what to say."""

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.reply = reply


def neuter(text: str) -> str:
    """Characters that could mean something in a header or a log line become ``?``."""
    return _NEUTER.sub("?", text)


def is_hostname(text: str) -> bool:
    """A name that DNS could know: letters, digits, hyphens, underscores and dots, and not an IPv4 address."""
    if not _HOSTNAME.fullmatch(text) or _BAD_LABEL.search(text):
        return False
    return not text.replace(".", "").isdigit()


def read_xclient(rest: str) -> dict[str, str]:
    """``NAME=value …`` of XCLIENT, decoded and checked, by upper-case name. Raises AttributeRefused."""
    return _read(rest, "XCLIENT", XCLIENT_NAMES)


def read_xforward(rest: str) -> dict[str, str]:
    """The same of XFORWARD; [UNAVAILABLE] becomes what the log says for "not known"."""
    found = _read(rest, "XFORWARD", XFORWARD_NAMES)
    if "SOURCE" in found:
        found["SOURCE"] = "local" if found["SOURCE"] in (UNAVAILABLE, "LOCAL") else "remote"
    for name in ("NAME", "ADDR", "PORT", "HELO", "PROTO", "IDENT"):
        if found.get(name) == UNAVAILABLE:
            found[name] = "" if name in ("HELO", "IDENT") else "unknown"
    return found


def _read(rest: str, command: str, names: tuple[str, ...]) -> dict[str, str]:
    words = rest.split()
    if not words:
        raise AttributeRefused(f"501 5.5.4 Syntax: {command} attribute=value...")
    found: dict[str, str] = {}
    for word in words:
        name, equals, raw = word.partition("=")
        if not equals or not raw:
            raise AttributeRefused("501 5.5.4 Error: attribute=value expected")
        if len(raw) > _VALUE_LIMIT:
            raise AttributeRefused("501 5.5.4 Error: attribute value too long")
        name = name.upper()
        if name not in names:
            raise AttributeRefused(f"501 5.5.4 Bad {command} attribute name: {name[:100]}")
        try:
            value = xtext.decode(raw)
        except ValueError:
            # Clients older than Postfix 2.3 do not encode.
            value = raw
        found[name] = _check(command, name, _UNPRINTABLE.sub("?", value))
    return found


def _check(command: str, name: str, value: str) -> str:
    shown = value.upper()
    if shown == UNAVAILABLE and (command, name) != ("XCLIENT", "PROTO"):
        return shown
    if shown == TEMPORARY and command == "XCLIENT" and name in ("NAME", "REVERSE_NAME"):
        return shown
    wrong = AttributeRefused(f"501 5.5.4 Bad {name} syntax: {value}")
    if name in ("NAME", "REVERSE_NAME"):
        if not is_hostname(value):
            raise wrong
        return value
    if name in ("ADDR", "DESTADDR"):
        text = value[5:] if value[:5].upper() == "IPV6:" else value
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            raise wrong from None
    if name in ("PORT", "DESTPORT"):
        if not (value.isascii() and value.isdigit() and len(value) <= 5):
            raise wrong
        return value
    if name == "LOGIN":
        # A name that accounts may have.
        return value
    if name == "PROTO":
        if len(value) > 64 or (command == "XCLIENT" and value.upper() not in ("SMTP", "ESMTP")):
            raise wrong
        return value.upper() if command == "XCLIENT" else neuter(value)
    if name == "SOURCE":
        if value.upper() not in ("LOCAL", "REMOTE"):
            raise wrong
        return value.upper()
    return neuter(value)
