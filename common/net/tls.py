"""TLS for servers and clients: contexts made of main.cf's words, the handshake, and what was agreed.

``upgrade`` puts TLS below an asyncio protocol. What came in the clear before it must be thrown away by the caller
(RFC 3207 4.2, CVE-2011-0411); what comes after is read by TLS and by nobody else.
"""

import asyncio
import re
import ssl
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from tubepost.common.system import log
from tubepost.common.config import Config
from tubepost.common.net import certificates, clientcerts
from tubepost.common.net.certificates import PeerCertificate, ServerCertificates
from tubepost.common.net.servernames import Find, ServerNames

# How long a peer may take to answer our close_notify, seconds; nothing depends on it.
SHUTDOWN_TIMEOUT = 3.0
_VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
_ORDER = tuple(_VERSIONS)
# No library of today speaks them; to exclude them is no mistake.
_ANCIENT = frozenset({"SSLV2", "SSLV3"})
_WIRE = {"0301": "TLSv1", "0302": "TLSv1.1", "0303": "TLSv1.2", "0304": "TLSv1.3"}
_SEPARATORS = re.compile(r"[\s,:]+")


class HandshakeError(Exception):
    """TLS did not come about. ``cause`` as in Postfix's ``SSL_accept error from …: cause``; ``detail``: the library's
    words, where it was the library that failed.
    """

    def __init__(self, cause: str, detail: str = "", *, verification: bool = False) -> None:
        super().__init__(f"{cause}: {detail}" if detail else cause)
        self.cause = cause
        self.detail = detail
        self.verification = verification
        """The peer's certificate was not accepted."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """What both sides have agreed on. ``bits``: of the cipher's key."""

    protocol: str
    cipher: str
    bits: int
    resumed: bool = False
    certificate: PeerCertificate | None = None
    """The peer's."""

    def __str__(self) -> str:
        """As in Postfix's log and Received: lines."""
        return f"{self.protocol} with cipher {self.cipher} ({self.bits}/{self.bits} bits)"


def parse_protocols(text: str) -> tuple[frozenset[str], str, str]:
    """The protocols that ``smtpd_tls_protocols`` and its kin allow: (all of them, lowest, highest).

    ``>=TLSv1.2``, ``<=TLSv1.3``, ``!TLSv1``, or names of those allowed. Raises ValueError.
    """
    low, high = 0, len(_ORDER) - 1
    wanted: set[str] = set()
    excluded: set[str] = set()
    for word in _SEPARATORS.split(text.replace(">= ", ">=").replace("<= ", "<=").strip()):
        if not word:
            continue
        if word.startswith((">=", "<=")):
            name = _protocol(word[2:])
            if name is None:
                continue
            if word[0] == ">":
                low = _ORDER.index(name)
            else:
                high = _ORDER.index(name)
        elif word.startswith("!"):
            name = _protocol(word[1:])
            if name is not None:
                excluded.add(name)
        else:
            name = _protocol(word)
            if name is not None:
                wanted.add(name)
    allowed = [name for name in _ORDER[low : high + 1] if name not in excluded and (not wanted or name in wanted)]
    if not allowed:
        raise ValueError(f'"{text}" allows no TLS protocol at all')
    return frozenset(allowed), allowed[0], allowed[-1]


def _protocol(word: str) -> str | None:
    """Its one spelling; None for those that are gone. Raises ValueError."""
    upper = word.upper()
    if upper in _ANCIENT:
        return None
    for name in _ORDER:
        if upper in (name.upper(), f"{name.upper()}.0"):
            return name
    if len(word) == 6 and upper.startswith("0X") and upper[2:] in _WIRE:
        return _WIRE[upper[2:]]
    raise ValueError(f'"{word}" is no TLS protocol: write TLSv1.2, TLSv1.3, >=TLSv1.2 or !TLSv1')


def limit(context: ssl.SSLContext, protocols: str, ciphers: str) -> None:
    """Set protocols and ciphers (an OpenSSL list for TLS up to 1.2). Raises ValueError."""
    allowed, lowest, highest = parse_protocols(protocols)
    with warnings.catch_warnings():
        # Python advises against what an administrator asks for by name.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = _VERSIONS[lowest]
        context.maximum_version = _VERSIONS[highest]
        for name, option in (("TLSv1.1", ssl.OP_NO_TLSv1_1), ("TLSv1.2", ssl.OP_NO_TLSv1_2)):
            if name not in allowed and lowest != highest:
                context.options |= option
    if lowest in ("TLSv1", "TLSv1.1"):
        # OpenSSL 3 knows these only at its lowest level of security.
        ciphers += ":@SECLEVEL=0"
    try:
        context.set_ciphers(ciphers)
    except ssl.SSLError:
        raise ValueError(f'no cipher is left of "{ciphers}"') from None


def cipher_list(config: Config, grade: str, excluded: Sequence[str] = (), *, anonymous: bool = False) -> str:
    """OpenSSL's list for a grade of main.cf (high, medium), less those that are excluded."""
    base = config.tls_high_cipherlist if grade == "high" else config.tls_medium_cipherlist
    if not anonymous:
        base += ":!aNULL"
    return ":".join((base, *(f"!{name.strip('!')}" for name in excluded)))


def load_authorities(context: ssl.SSLContext, file: str, path: str, *, default: bool = False) -> None:
    """Trust these authorities. Raises ValueError."""
    try:
        if file or path:
            context.load_verify_locations(file or None, path or None)
        if default:
            context.set_default_verify_paths()
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"cannot read the authorities of {file or path}: {error}") from None


# -- servers -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """``<prefix>_tls_…`` of main.cf. ``level``: none, may, encrypt."""

    prefix: str
    level: str
    wrapper: bool
    loglevel: int
    timeout: float
    """Seconds for the handshake."""
    digest: str
    asks: bool
    requires: bool

    @property
    def offered(self) -> bool:
        return self.level != "none"


def server_settings(config: Config, prefix: str) -> ServerSettings:
    """``prefix``: smtpd, imapd, pop3d, lmtpd. Raises ConfigError."""

    def get(name: str) -> object:
        return config.get(f"{prefix}_{name}")

    wrapper = bool(get("tls_wrappermode"))
    level = str(get("tls_security_level")) or "none"
    if level == "none" and wrapper:
        level = "encrypt"
    digest = str(get("tls_fingerprint_digest"))
    try:
        certificates.fingerprint(b"", digest)
    except ValueError:
        raise config.bad_value(f"{prefix}_tls_fingerprint_digest", f'"{digest}" is no digest') from None
    requires = bool(get("tls_req_ccert"))
    return ServerSettings(
        prefix=prefix,
        level=level,
        wrapper=wrapper,
        loglevel=int(str(get("tls_loglevel"))),
        timeout=float(str(get("starttls_timeout"))),
        digest=digest,
        asks=bool(get("tls_ask_ccert")) or requires,
        # A client certificate can be required only where TLS is.
        requires=requires and level == "encrypt",
    )


def server_certificates(
    config: Config, prefix: str, find: Find | None = None, files: Sequence[str] = ()
) -> ServerCertificates | None:
    """Those of ``<prefix>_tls_chain_files``, or of the cert_file and key_file parameters. To be called before
    privileges are dropped. ``find`` and ``files``: of tls_server_sni_maps, see ServerNames. None where TLS is not
    wanted. Raises ConfigError.
    """
    settings = server_settings(config, prefix)
    if not settings.offered:
        return None

    def get(name: str) -> object:
        return config.get(f"{prefix}_tls_{name}")

    mandatory = "mandatory_" if settings.level == "encrypt" else ""
    protocols = str(get(f"{mandatory}protocols"))
    excluded = list(cast(tuple[str, ...], get("exclude_ciphers")))
    if mandatory:
        excluded += cast(tuple[str, ...], get("mandatory_exclude_ciphers"))
    ciphers = cipher_list(config, str(get(f"{mandatory}ciphers")), excluded)
    authorities, path = str(get("CAfile")), str(get("CApath"))

    def make() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        limit(context, protocols, ciphers)
        if not config.tls_preempt_cipherlist:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        # A client that renegotiates costs work and gains nothing.
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        if settings.asks:
            context.verify_mode = ssl.CERT_REQUIRED if settings.requires else ssl.CERT_OPTIONAL
            load_authorities(context, authorities, path, default=config.tls_append_default_CA)
            if not settings.requires:
                clientcerts.accept_any(context)
        return context

    try:
        make()
    except ValueError as error:
        raise config.bad_value(f"{prefix}_tls_{mandatory}protocols", str(error)) from None
    chain_files = cast(tuple[str, ...], get("chain_files"))
    pairs = [
        (str(get(f"{kind}cert_file")), str(get(f"{kind}key_file")))
        for kind in ("", "ec")
        if str(get(f"{kind}cert_file")) not in ("", "none")
    ]
    if not chain_files and not pairs:
        if settings.level == "encrypt":
            log.warning(f"TLS is required and there is no certificate: set {prefix}_tls_chain_files")
        return None
    others = [authorities] if settings.asks and authorities else []
    names = ServerNames(find, make, files) if find is not None else None
    return ServerCertificates(chain_files, pairs, make, time.monotonic, others, names)


# -- the handshake -------------------------------------------------------------------------------------------------


async def upgrade(
    transport: asyncio.Transport,
    protocol: asyncio.Protocol,
    context: ssl.SSLContext,
    *,
    server_side: bool,
    server_hostname: str | None = None,
    timeout: float,  # noqa: ASYNC109 - its own exception
) -> asyncio.Transport:
    """TLS over a connection that is there. Returns the transport to be used from now on; ``protocol`` goes on being
    called with what comes. ``timeout`` in seconds. Raises HandshakeError, with the connection aborted then.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            made = await loop.start_tls(
                transport,
                protocol,
                context,
                server_side=server_side,
                server_hostname=server_hostname,
                # Longer than our own limit, which says what happened.
                ssl_handshake_timeout=timeout + 5,
                ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
            )
    except BaseException as error:
        transport.abort()
        if isinstance(error, (OSError, TimeoutError, EOFError)):
            raise handshake_error(error) from None
        if isinstance(error, (ValueError, TypeError)) and server_hostname:
            # UnicodeError too: what was meant to be a host name.
            raise HandshakeError("-1", f'"{server_hostname:.100}" cannot be asked for by name: {error}') from None
        raise
    if made is None or ssl_object(made) is None:
        # uvloop takes a connection that we aborted meanwhile for one whose handshake is done.
        raise HandshakeError("lost connection")
    return made


def handshake_error(error: Exception) -> HandshakeError:
    """What a failed handshake is called, by the exception that an event loop raised."""
    if isinstance(error, TimeoutError):
        return HandshakeError("Connection timed out")
    if isinstance(error, ssl.SSLCertVerificationError):
        return HandshakeError("-1", error.verify_message, verification=True)
    if isinstance(error, ssl.SSLEOFError | ConnectionError | EOFError):
        return HandshakeError("lost connection")
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).lower().replace("_", " ")
        return HandshakeError("-1", f"error:{error.library or 'SSL'} routines::{reason}")
    return HandshakeError("lost connection" if not error.args else str(error))


def agreed(transport: asyncio.BaseTransport, digest: str = "sha256", *, verified: bool | None = None) -> Agreed:
    """What the connection of a transport of ``upgrade`` uses. ``verified``: of the peer's certificate; None: as the
    context demands it.
    """
    tls = ssl_object(transport)
    name, _, bits = tls.cipher() or ("unknown", "", 0)
    der = tls.getpeercert(binary_form=True)
    certificate = None
    if der:
        trusted = clientcerts.is_verified(tls) if verified is None else verified
        certificate = certificates.describe(der, digest, verified=trusted)
    return Agreed(tls.version() or "unknown", name, bits, bool(tls.session_reused), certificate)


def ssl_object(transport: asyncio.BaseTransport) -> ssl.SSLObject:
    """The library's view of a connection with TLS."""
    return cast(ssl.SSLObject, transport.get_extra_info("ssl_object"))


def peer_chain(transport: asyncio.BaseTransport) -> list[bytes]:
    """What the peer sent, DER, its own certificate first; nothing is checked."""
    tls = ssl_object(transport)
    get = getattr(tls, "get_unverified_chain", None)
    if get is not None:  # Python 3.13
        return list(get() or ())
    inner = getattr(getattr(tls, "_sslobj", None), "get_unverified_chain", None)
    chain = inner() if inner is not None else None
    return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in chain or ()]
