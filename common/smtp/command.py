"""Command lines taken apart (RFC 5321 4.1). Pure.

A line comes here without its line end, as ``str`` that was valid UTF-8. Addresses come out in external form without
angle brackets: quoted where they must be and nowhere else, source route dropped, the null sender as "".

``strict`` is strict_rfc821_envelopes, with Postfix's meaning: an address stands in angle brackets, and what RFC 5321
wants quoted is quoted. A space after the colon, a missing domain and a final dot are let pass all the same.
"""

import re
from dataclasses import dataclass

# RFC 5321 4.1.2: Dot-string "@" Domain, which nearly every path is; UTF-8 as RFC 6531 3.3 adds.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\xa0-\u2027\u202a-\U0010ffff-]+"
_SIMPLE = re.compile(rf"<({_ATOM}(?:\.{_ATOM})*@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)>(?:[ \t]+(.*))?")
_DOT_STRING = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_SEVERAL = re.compile(r"[ \t,]")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = re.compile(r"([\"\\])")
# RFC 5321 4.1.2: At-domain *( "," At-domain ) ":"
_ROUTE = re.compile(r"@[^@:,<>\"\s]+(?:,\s*@[^@:,<>\"\s]+)*:")
_DOMAIN = re.compile(r"[A-Za-z0-9_\x80-\U0010ffff](?:[A-Za-z0-9_\x80-\U0010ffff.-]*[A-Za-z0-9_\x80-\U0010ffff])?\.?")
# RFC 5198 2: nor C1 controls, nor LINE SEPARATOR and PARAGRAPH SEPARATOR: some readers take them for line ends.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# RFC 5321 4.1.2: esmtp-keyword and esmtp-value ("=" and SP excluded; UTF-8 as RFC 6531 3.3).
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^=\s\x00-\x20\x7f][^\s\x00-\x20\x7f]*)?)?")
# Postfix's XVERP is older than the rule: "=" is one of its usual delimiters.
_DELIMITERS = re.compile(r"XVERP=[!-~]{1,10}", re.IGNORECASE)
_IPV4 = re.compile(r"\[(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\]")
_IPV6 = re.compile(r"\[IPv6:[0-9A-Fa-f:.]{2,45}\]", re.IGNORECASE)
_LITERAL = re.compile(r"\[[A-Za-z0-9-]+:[!-Z^-~]+\]|\[[0-9.]+\]")

ADDRESS_LIMIT = 1000
"""Characters of one address. RFC 5321 4.5.3.1.3 promises 256 bytes for a path; what no table can hold is refused."""
PARAMETERS_LIMIT = 20
"""Parameters of one command: twice what all known extensions together define."""


class CommandError(ValueError):
    """The peer's mistake. The text is fit for the log; the reply is the caller's affair."""


class AddressError(CommandError):
    """A path that is no address."""


@dataclass(frozen=True, slots=True)
class PathCommand:
    """MAIL or RCPT: the address and the ESMTP parameters, names upper case, value None where no "=" was given."""

    address: str
    parameters: tuple[tuple[str, str | None], ...] = ()
    raw: str = ""
    """The path as it was written, angle brackets included: for log lines and replies."""


def split_verb(line: str) -> tuple[str, str]:
    """(VERB in upper case, the rest without surrounding blanks). Both empty for a blank line."""
    words = line.strip(" \t").split(None, 1)
    if not words:
        return "", ""
    return words[0].upper(), words[1] if len(words) > 1 else ""


def parse_path_command(rest: str, label: str, *, strict: bool = False) -> PathCommand:
    """What follows MAIL (``label`` "FROM:") or RCPT ("TO:").

    Raises CommandError when the label or the parameters are wrong, AddressError when the path is.
    """
    size = len(label)
    if rest[:size].upper() != label:
        # Postfix takes "MAIL FROM : <a@b>" apart into words too.
        head, colon, tail = rest.partition(":")
        if not colon or head.rstrip(" \t").upper() + ":" != label:
            raise CommandError(f"{label} is missing")
        rest = label + tail
    text = rest[size:]
    found = _SIMPLE.fullmatch(text)
    if found is not None and found.end(1) <= ADDRESS_LIMIT and ".." not in found.group(1):
        address, parameters = found.group(1, 2)
        return PathCommand(address, parse_parameters(parameters) if parameters else (), f"<{address}>")
    if text[:1] in (" ", "\t"):
        # RFC 5321 3.3 forbids it, and too many clients do it.
        text = text.lstrip(" \t")
    path, rest = _cut_path(text, strict=strict)
    return PathCommand(parse_path(path, strict=strict), parse_parameters(rest), path)


def _cut_path(text: str, *, strict: bool) -> tuple[str, str]:
    if not text.startswith("<"):
        if not text:
            raise CommandError("there is no address")
        if strict:
            raise AddressError("the address is not in angle brackets")
        end = _skip_word(text)
        return text[:end], text[end:]
    quoted = False
    skip = False
    for position, character in enumerate(text):
        if skip:
            skip = False
        elif character == "\\":
            skip = True
        elif character == '"':
            quoted = not quoted
        elif character == ">" and not quoted:
            rest = text[position + 1 :]
            if rest and rest[0] not in " \t":
                raise CommandError("no space between the address and what follows")
            return text[: position + 1], rest
    raise AddressError("the address has no closing angle bracket")


def _skip_word(text: str) -> int:
    quoted = skip = False
    for position, character in enumerate(text):
        if skip:
            skip = False
        elif character == "\\":
            skip = True
        elif character == '"':
            quoted = not quoted
        elif character in " \t" and not quoted:
            return position
    return len(text)


def parse_path(path: str, *, strict: bool = False) -> str:
    """The address of a path such as ``<@relay.example:"john doe"@example.com>``, in external form; "" for ``<>``.

    Raises AddressError.
    """
    inner = path[1:-1] if path.startswith("<") and path.endswith(">") else path
    if not strict:
        inner = inner.strip(" \t")
    if not inner:
        return ""
    if len(inner) > ADDRESS_LIMIT:
        raise AddressError(f"an address of more than {ADDRESS_LIMIT} characters")
    if _CONTROL.search(inner):
        raise AddressError("a control character in an address")
    if inner.startswith("@"):
        # RFC 5321 4.1.1.3 and appendix C: a source route is accepted and ignored.
        route = _ROUTE.match(inner)
        if route is None:
            raise AddressError("a source route without an address")
        inner = inner[route.end() :]
    local, at, domain = _split(inner)
    if not local:
        raise AddressError("an address without a local part")
    external = _external_local(local, strict=strict)
    if not at:
        # RFC 5321 4.1.1.3 has one address without a domain, <postmaster>; others are completed (append_at_myorigin).
        return external
    _check_domain(domain)
    return f"{external}@{domain}"


def _split(text: str) -> tuple[str, bool, str]:
    position = -1
    quoted = skip = False
    for index, character in enumerate(text):
        if skip:
            skip = False
        elif character == "\\":
            skip = True
        elif character == '"':
            quoted = not quoted
        elif character == "@" and not quoted:
            position = index
    if quoted:
        raise AddressError("a quote that is not closed")
    if skip:
        raise AddressError("an address ends in a backslash")
    if position < 0:
        return text, False, ""
    return text[:position], True, text[position + 1 :]


def _external_local(local: str, *, strict: bool) -> str:
    if _DOT_STRING.fullmatch(local):
        return local
    if local.startswith('"') and local.endswith('"') and len(local) >= 2:
        body = local[1:-1]
        if '"' not in _QUOTED_PAIR.sub("", body):
            plain = _QUOTED_PAIR.sub(r"\1", body)
            return quote_local(plain)
    if strict:
        raise AddressError("a local part that must be quoted is not")
    if "<" in local or ">" in local:
        raise AddressError("an angle bracket in an address")
    if _SEVERAL.search(_QUOTED_PAIR.sub("", _QUOTED.sub("", local))):
        # Postfix reads "a b@c" and "a,b@c" as two addresses.
        raise AddressError("more than one address")
    return quote_local(_QUOTED_PAIR.sub(r"\1", local.replace('"', "") if '\\"' not in local else local))


def quote_local(plain: str) -> str:
    """A local part in external form: quoted only where RFC 5321 4.1.2 wants it."""
    if _DOT_STRING.fullmatch(plain):
        return plain
    return '"' + _ESCAPED.sub(r"\\\1", plain) + '"'


def _check_domain(domain: str) -> None:
    if domain.startswith("["):
        if not is_address_literal(domain):
            raise AddressError("a malformed address literal")
    elif not domain:
        raise AddressError("an address without a domain after the @")
    elif not _DOMAIN.fullmatch(domain) or ".." in domain:
        raise AddressError("a malformed domain")


def is_address_literal(text: str) -> bool:
    """``[192.0.2.1]``, ``[IPv6:2001:db8::1]`` or the general form ``[tag:content]`` (RFC 5321 4.1.3)."""
    found = _IPV4.fullmatch(text)
    if found is not None:
        return all(int(part) < 256 for part in found.groups())
    if text[:6].upper() == "[IPV6:":
        return _IPV6.fullmatch(text) is not None and text.count("::") <= 1
    return _LITERAL.fullmatch(text) is not None


def parse_parameters(text: str) -> tuple[tuple[str, str | None], ...]:
    """``SIZE=1000 BODY=8BITMIME`` as (NAME, value) pairs. Raises CommandError."""
    words = text.split()
    if len(words) > PARAMETERS_LIMIT:
        raise CommandError(f"more than {PARAMETERS_LIMIT} parameters")
    pairs: list[tuple[str, str | None]] = []
    for word in words:
        found = _PARAMETER.fullmatch(word)
        if found is None and _DELIMITERS.fullmatch(word):
            pairs.append(("XVERP", word[6:]))
            continue
        if found is None:
            raise CommandError(f"malformed parameter {word[:80]!r}")
        name, value = found.group(1, 2)
        pairs.append((name.upper(), value if value is not None else ("" if "=" in word else None)))
    return tuple(pairs)
