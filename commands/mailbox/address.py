"""Where another IMAP server is, and what may go wrong on the way to it."""

import ipaddress
import ssl
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from tubepost.common.imap.client import BadResponse


class RemoteError(OSError):
    """The other server cannot be reached, refuses, or is not understood; the text says what it was."""


class Address(NamedTuple):
    """Of a server. ``security``: tls (from the start) or starttls."""

    host: str
    port: int
    security: str
    user: str


def parse_address(text: str) -> Address | None:
    """``imaps://user@host[:port]``, ``imap://user@host`` (STARTTLS); a user's @ as %40 or as it is.

    None: it is none. Raises ValueError.
    """
    scheme, colon, _ = text.partition("://")
    if not colon or scheme.lower() not in ("imap", "imaps"):
        return None
    # An address as the user name has an @ too: the last one divides.
    parts = urlsplit(text)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"{text} has more than user and host: folders are named by --folder, a # of a user is %23")
    user, _, place = parts.netloc.rpartition("@")
    if ":" in user:
        raise ValueError("a password in the address can be read by every user of this host: it is asked for")
    split = urlsplit(f"//{place}")
    if not split.hostname:
        raise ValueError(f"{text} names no host")
    try:
        split.hostname.encode("idna")
    except UnicodeError:
        raise ValueError(f"{split.hostname} is not a host name") from None
    secure = scheme.lower() == "imaps"
    try:
        port = split.port or (993 if secure else 143)
    except ValueError:
        raise ValueError(f"{text} has no valid port") from None
    return Address(split.hostname, port, "tls" if secure else "starttls", unquote(user))


def is_loopback(host: str) -> bool:
    """Only an address is looked at: a name that begins with 127. may be anybody's."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Faults:
    """What may go wrong on a connection, as RemoteError."""

    __slots__ = ("_where",)

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        match error:
            case RemoteError():
                return
            case ssl.SSLCertVerificationError():
                raise RemoteError(
                    f"{self._where}: the certificate is not good: {error.verify_message} (--ca-file, --no-verify)"
                ) from error
            case TimeoutError():
                raise RemoteError(f"{self._where}: no answer in time") from error
            case BadResponse():
                raise RemoteError(f"{self._where}: {error}") from error
            case OSError():
                raise RemoteError(f"{self._where}: {error.strerror or error}") from error
