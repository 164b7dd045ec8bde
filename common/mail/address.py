"""Addresses of RFC 5321 and RFC 5322: the parts of one address, in external (quoted) and internal (bare) form.

Lists of addresses as they stand in a header field are in ``addresslist``.
"""

import re

# RFC 5321 4.1.2 Dot-string; RFC 6531 3.3 lets UTF-8 into atoms.
_DOT_STRING = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+)*"
)
# A quoted string that is not closed reaches to the end, so that no input makes the search start over.
_QUOTED_OR_AT = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|\\.|@', re.DOTALL)
_MUST_ESCAPE = re.compile(r'(["\\\r\n])')
_ESCAPED = re.compile(r"\\(.)|\"", re.DOTALL)

# Postfix split_addr(3): names that the system itself needs are never taken apart.
_NEVER_SPLIT = frozenset({"postmaster", "mailer-daemon", "double-bounce"})


def split(address: str) -> tuple[str, str | None]:
    """``(local, domain)`` at the last ``@`` that is not quoted; the domain is None when there is none.

    Both parts are given as they stand: ``'"a@b"@c'`` → ``('"a@b"', 'c')``.
    """
    if '"' not in address and "\\" not in address:
        local, at, domain = address.rpartition("@")
        return (local, domain) if at else (domain, None)
    last = -1
    for match in _QUOTED_OR_AT.finditer(address):
        if match.group() == "@":
            last = match.start()
    if last < 0:
        return address, None
    return address[:last], address[last + 1 :]


def join(local: str, domain: str | None) -> str:
    """The reverse of ``split``."""
    return local if domain is None else f"{local}@{domain}"


def domain_of(address: str) -> str:
    """The domain in lower case, or the empty string."""
    domain = split(address)[1]
    return domain.lower() if domain else ""


def quote_local(local: str) -> str:
    """A local part from internal to external form (RFC 5321 4.1.2): quoted only when it is no Dot-string."""
    if _DOT_STRING.fullmatch(local):
        return local
    escaped = _MUST_ESCAPE.sub(r"\\\1", local)
    return f'"{escaped}"'


def unquote_local(local: str) -> str:
    """A local part from external to internal form: quotes and the backslashes of quoted pairs are taken off."""
    if '"' not in local and "\\" not in local:
        return local
    return _ESCAPED.sub(lambda match: match.group(1) or "", local)


def quote(address: str) -> str:
    """An internal-form address to external form. The last ``@`` divides it; the null address stays empty."""
    if not address:
        return ""
    local, at, domain = address.rpartition("@")
    return f"{quote_local(local)}@{domain}" if at else quote_local(domain)


def unquote(address: str) -> str:
    """An external-form address to internal form, as Postfix's tables are asked for it."""
    if '"' not in address and "\\" not in address:
        return address
    local, domain = split(address)
    return join(unquote_local(local), domain)


def strip_extension(local: str, recipient_delimiter: str) -> tuple[str, str | None]:
    """``user+ext`` → ``("user", "ext")``; without an extension ``(local, None)``.

    ``recipient_delimiter`` is a set of characters, of which the first one found divides (Postfix 2.11 and later): the
    delimiter that was used is ``local[len(base)]``. ``local`` is in internal form. Postmaster, MAILER-DAEMON and
    double-bounce are never divided, nor are ``owner-list`` and ``list-request`` at a hyphen.
    """
    if not recipient_delimiter or local.lower() in _NEVER_SPLIT:
        return local, None
    if "-" in recipient_delimiter and (local[:6].lower() == "owner-" or local[-8:].lower() == "-request"):
        return local, None
    if len(recipient_delimiter) == 1:
        at = local.find(recipient_delimiter)
    else:
        at = next((place for place, character in enumerate(local) if character in recipient_delimiter), -1)
    if at <= 0:
        return local, None
    return local[:at], local[at + 1 :]
