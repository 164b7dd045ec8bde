"""Certificates by the name that a client asks for (SNI, RFC 6066 3): what tls_server_sni_maps says.

A context for each chain is made when it is first asked for, and kept while there is room. OpenSSL takes from it only
key and certificates; protocols, ciphers and what is asked of the client stay those of the context that the connection
began with.
"""

import base64
import binascii
import re
import ssl
from collections import OrderedDict
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

from tubepost.common.system import log
from tubepost.common.net.certificates import CertificateError, end_point, load_chain, parse_chains

# Contexts that are kept: some 100 KB each.
_ROOM = 200
# What a client sends is shown in the log no longer than this.
_SHOWN = 100
# RFC 6066 3: a DNS name, no address; RFC 1123 2.1, and underscores, which are met.
_HOST_NAME = re.compile(r"(?!.*\.[0-9]+\Z)(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*")

Find = Callable[[str], str | None]
"""The value of a key in tls_server_sni_maps, base64 of a key and its chain, PEM; None for no such key. Raises
LookupError with a line for the log.
"""


def keys(name: str) -> Sequence[str]:
    """What is looked up for a name, in order: itself, then the domains above it with a dot before them."""
    found = [name]
    start = name.find(".", 1)
    while start > 0:
        found.append(name[start:])
        start = name.find(".", start + 1)
    return found


class ServerNames:
    """``files``: on the disk, where the table and its certificates come from; a change of one of them is a reason to
    read all of it again.
    """

    def __init__(self, find: Find, make: Callable[[], ssl.SSLContext], files: Sequence[str] = ()) -> None:
        self._find = find
        self._make = make
        self.files = tuple(files)
        # By value: the keys of a table of patterns are without number.
        self._contexts: OrderedDict[str, ssl.SSLContext] = OrderedDict()
        self._bindings: WeakKeyDictionary[ssl.SSLContext, bytes] = WeakKeyDictionary()
        self._named: WeakKeyDictionary[ssl.SSLObject, str] = WeakKeyDictionary()
        self._unknown: WeakKeyDictionary[ssl.SSLObject, str] = WeakKeyDictionary()

    def choose(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> int | None:
        """For ``SSLContext.sni_callback``: an alert, or None to go on."""
        if not name:
            return None
        name = name.lower()
        if not _HOST_NAME.fullmatch(name):
            self._unknown[connection] = f"TLS SNI {name[:_SHOWN]!r} from {{}} is no host name, using default chain"
            return None
        try:
            value = next((value for key in keys(name) if (value := self._find(key)) is not None), None)
            if value is None:
                self._unknown[connection] = f"TLS SNI {name} from {{}} not matched, using default chain"
                return None
            connection.context = self._context(value)
        except (LookupError, CertificateError) as error:
            log.warning(f"TLS SNI {name}: {error}")
            return ssl.AlertDescription.ALERT_DESCRIPTION_INTERNAL_ERROR
        self._named[connection] = name
        return None

    def named(self, connection: ssl.SSLObject) -> str:
        """The name by which the certificate of this connection was chosen; empty: the default one."""
        return self._named.get(connection, "")

    def complaint(self, connection: ssl.SSLObject, client: str) -> str:
        """A line for the log when the client has asked for a name that is not known; else empty."""
        return self._unknown.get(connection, "").replace("{}", client)

    def binding(self, context: ssl.SSLContext | None) -> bytes | None:
        """As ``ServerCertificates.binding``; None: the context is none of these."""
        return None if context is None else self._bindings.get(context)

    def _context(self, value: str) -> ssl.SSLContext:
        """Raises CertificateError."""
        context = self._contexts.get(value)
        if context is not None:
            self._contexts.move_to_end(value)
            return context
        try:
            pem = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise CertificateError("the table's value is no base64 text: build it with postmap -F") from None
        chains = parse_chains(pem, "tls_server_sni_maps")
        context = self._make()
        for chain in chains:
            load_chain(context, chain)
        self._bindings[context] = end_point(chains[0].leaf) if len(chains) == 1 else b""
        self._contexts[value] = context
        if len(self._contexts) > _ROOM:
            self._contexts.popitem(last=False)
        return context
