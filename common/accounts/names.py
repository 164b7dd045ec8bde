"""The one spelling of an account's name, a domain's and an alias's. Pure."""

import re
import unicodedata

# A name becomes a directory and a log line: nothing that either could read otherwise. ``*`` parts a master user's name.
_LOCAL = re.compile(r'[^\s/@"\\*%\x00-\x1f\x7f-\x9f]{1,64}')
_DOMAIN = re.compile(r"(?=.{1,253}\Z)[^\W_]([\w-]{0,61}[^\W_])?(\.[^\W_]([\w-]{0,61}[^\W_])?)*")


def fold_name(name: str) -> str:
    """An account or address in lower case and composed form (NFC): how it is stored and looked for."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def split_name(name: str) -> tuple[str, str]:
    """(local part, domain) of an account to be made, folded. Raises ValueError with words for a person."""
    local, at, domain = fold_name(name).rpartition("@")
    if not at:
        raise ValueError(f'"{name}" is not an account name: write user@domain')
    check_local(local)
    return local, check_domain(domain)


def check_local(local: str) -> str:
    """Raises ValueError unless it can be the first part of an account's name."""
    if not _LOCAL.fullmatch(local) or local.startswith((".", "-")) or local.endswith(".") or ".." in local:
        raise ValueError(f'"{local}" cannot be the name of a mailbox')
    return local


def check_domain(domain: str) -> str:
    """The folded domain. Raises ValueError."""
    domain = fold_name(domain).removesuffix(".")
    if not _DOMAIN.fullmatch(domain):
        raise ValueError(f'"{domain}" is not a domain name')
    return domain


def check_alias(name: str) -> str:
    """An alias: ``sales@domain``, or ``@domain`` for all of a domain's addresses that are nothing else.

    Raises ValueError.
    """
    local, at, domain = fold_name(name).rpartition("@")
    if not at:
        raise ValueError(f'"{name}" is not an address: write name@domain, or @domain for the whole domain')
    if local:
        check_local(local)
    return f"{local}@{check_domain(domain)}"


def check_mailbox(path: str) -> str:
    """A mailbox below virtual_mailbox_base, with a final / as a Maildir has. Raises ValueError."""
    parts = path.strip("/").split("/")
    if not path.strip("/") or any(part in ("", ".", "..") for part in parts) or not path.isprintable():
        raise ValueError(f'"{path}" is not a directory below virtual_mailbox_base')
    return "/".join(parts) + "/"


def strip_extension(name: str, delimiters: str) -> str:
    """``alice+lists@example.test`` to ``alice@example.test``; a name without an extension as it is.

    ``delimiters``: the characters of recipient_delimiter.
    """
    local, at, domain = name.rpartition("@")
    if not at:
        local, domain = name, ""
    cut = min((place for delimiter in delimiters if (place := local.find(delimiter)) > 0), default=-1)
    return name if cut < 0 else f"{local[:cut]}{at}{domain}"
