"""xtext (RFC 3461 4) and utf-8-addr-xtext (RFC 6533 3): how ENVID and ORCPT values travel in a command. Pure."""

import re

# RFC 3461 4: xchar is "!" to "~" save "+" and "="; everything else is "+" and two upper-case hex digits.
_VALID = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_HEXCHAR = re.compile(r"\+([0-9A-F]{2})")
_UNSAFE = re.compile(rb"[^!-*,-<>-~]")
# RFC 6533 3: embedded-unicode-char, "\x{" 2 to 6 hex digits "}".
_EMBEDDED = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_UTF8_UNSAFE = re.compile(r"[^!-*,-<>-\[\]-~]")


def encode(text: str) -> str:
    """``text`` as xtext; what is not ASCII goes as its UTF-8 bytes."""
    return _UNSAFE.sub(lambda found: b"+%02X" % found.group()[0], text.encode("utf-8", "surrogatepass")).decode("ascii")


def decode(text: str) -> str:
    """The text behind an xtext value.

    Raises ValueError when it is not xtext, or not UTF-8 behind it.
    """
    if not _VALID.fullmatch(text):
        raise ValueError("not xtext (RFC 3461 section 4)")
    if "+" not in text:
        return text
    raw = _HEXCHAR.sub(lambda found: chr(int(found.group(1), 16)), text)
    return raw.encode("latin-1").decode("utf-8")


def encode_utf8_address(address: str, *, smtputf8: bool) -> str:
    """An ``utf-8`` typed ORCPT address (RFC 6533 3): Unicode kept towards an SMTPUTF8 server, else ``\\x{HEX}``."""

    def escape(found: re.Match[str]) -> str:
        character = found.group()
        if smtputf8 and ord(character) > 0x7F:
            return character
        return f"\\x{{{ord(character):02X}}}"

    return _UTF8_UNSAFE.sub(escape, address)


def decode_utf8_address(text: str) -> str:
    """The address behind an ``utf-8`` typed ORCPT value. Raises ValueError for impossible code points."""

    def unescape(found: re.Match[str]) -> str:
        point = int(found.group(1), 16)
        if point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:
            raise ValueError(f"no such character: U+{point:X}")
        return chr(point)

    return _EMBEDDED.sub(unescape, text)
