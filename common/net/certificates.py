"""Certificates: chains read from PEM files, their fingerprints, and a server's own, renewed without a restart.

A key is root's, so ``ServerCertificates`` is made before privileges are dropped (``skeleton.tls``). Files that change
are noticed when a connection comes; where this process may no longer read them it tells so, and its owner retires it:
the master then starts a process that can.
"""

import hashlib
import os
import re
import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from tubepost.common.system import log

# Seconds between two looks at the files: a renewed certificate need not be in use the same moment.
_LOOK_INTERVAL = 5.0
# Where files cannot even be looked at (Let's Encrypt's directories are root's alone), contexts are used so long.
_BLIND_LIFETIME = 3600.0
# A file of certificates is small; anything else was named by mistake.
_FILE_LIMIT = 4 * 1024 * 1024
# What comes of a certificate that is none, or was made to be trouble.
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_BLOCK = re.compile(
    rb"-----BEGIN ([A-Z0-9 ]{1,40})-----\r?\n.+?\r?\n-----END \1-----",
    re.DOTALL,
)


if TYPE_CHECKING:
    from tubepost.common.net.servernames import ServerNames


class CertificateError(Exception):
    """Files that cannot be used; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Chain:
    """One key with its certificate and those of its issuers, PEM."""

    key: bytes
    certificates: tuple[bytes, ...]

    @property
    def leaf(self) -> bytes:
        """The certificate itself, DER."""
        return ssl.PEM_cert_to_DER_cert(self.certificates[0].decode("ascii"))


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """What is said of a peer's certificate. Names are those of the certificate, without control characters."""

    subject: str
    """Its common name, else its organisation."""
    issuer: str
    fingerprint: str
    public_key_fingerprint: str
    names: tuple[str, ...] = ()
    """DNS names, in lower case: of the alternative names, or where there are none the common name (RFC 6125 6.4.4)."""
    verified: bool = False
    """It leads to an authority that is trusted."""


def parse_chains(pem: bytes, what: str) -> tuple[Chain, ...]:
    """Keys, each followed by its certificates (Postfix: smtpd_tls_chain_files). ``what`` names the source in errors.

    Raises CertificateError.
    """
    chains: list[Chain] = []
    key = b""
    certificates: list[bytes] = []
    for match in _BLOCK.finditer(pem):
        label = match[1]
        if label.endswith(b"PRIVATE KEY"):
            if label.startswith(b"ENCRYPTED") or b"ENCRYPTED" in match[0][:200]:
                raise CertificateError(f"{what}: the private key is encrypted; write it without a password")
            if key and not certificates:
                raise CertificateError(f"{what}: a private key without a certificate behind it")
            if key:
                chains.append(Chain(key, tuple(certificates)))
            key, certificates = match[0] + b"\n", []
        elif label in (b"CERTIFICATE", b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE"):
            if not key:
                raise CertificateError(f"{what}: a certificate must come after its private key")
            certificates.append(match[0] + b"\n")
    if not key or not certificates:
        raise CertificateError(f"{what}: no {'private key' if not key else 'certificate'} found")
    chains.append(Chain(key, tuple(certificates)))
    return tuple(chains)


def read_files(paths: Sequence[str]) -> bytes:
    """All of them, one after the other. Raises OSError, CertificateError."""
    parts = []
    for path in paths:
        with open(path, "rb") as file:
            parts.append(file.read(_FILE_LIMIT + 1))
        if len(parts[-1]) > _FILE_LIMIT:
            raise CertificateError(f"{path}: larger than {_FILE_LIMIT} bytes, this is no certificate")
    return b"\n".join(parts)


def load_chain(context: ssl.SSLContext, chain: Chain) -> None:
    """Give a context a key and its certificates. Raises CertificateError.

    OpenSSL's binding reads files only, so they are written to one in memory, which nobody else sees.
    """
    fd = os.memfd_create("certificates", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(chain.key + b"".join(chain.certificates))
        context.load_cert_chain(f"/proc/self/fd/{fd}", password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = error.reason if isinstance(error, ssl.SSLError) and error.reason else str(error)
        raise CertificateError(f"the key and the certificate cannot be used: {reason}") from None
    finally:
        os.close(fd)


def _no_password() -> str:
    raise ValueError("the private key is encrypted")


def end_point(leaf: bytes) -> bytes:
    """tls-server-end-point data (RFC 5929 4.1) of a certificate in DER; empty where it is not defined."""
    try:
        algorithm = x509.load_der_x509_certificate(leaf).signature_hash_algorithm
    except _UNREADABLE:
        return b""
    if algorithm is None:
        # RFC 5929 4.1: no hash function (Ed25519), no channel binding of this type.
        return b""
    # RFC 5929 4.1: SHA-256 stands for MD5 and SHA-1.
    name = "sha256" if algorithm.name in ("md5", "sha1") else algorithm.name.replace("-", "_")
    try:
        return hashlib.new(name, leaf).digest()
    except ValueError:
        return b""


def fingerprint(data: bytes, digest: str) -> str:
    """``AB:CD:…`` in the digest's name of main.cf. Raises ValueError for an unknown digest."""
    return hashlib.new(digest, data).digest().hex(":").upper()


def describe(der: bytes, digest: str = "sha256", *, verified: bool = False) -> PeerCertificate:
    """What a peer's certificate says. Raises nothing: a certificate that cannot be read has fingerprints only."""
    whole = fingerprint(der, digest)
    try:
        certificate = x509.load_der_x509_certificate(der)
        key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        subject, issuer = _name(certificate.subject), _name(certificate.issuer)
    except _UNREADABLE:
        return PeerCertificate("", "", whole, "", (), verified)
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = extension.get_values_for_type(x509.DNSName)
        addresses = [str(address) for address in extension.get_values_for_type(x509.IPAddress)]
    except x509.ExtensionNotFound:
        names, addresses = [], []
    except _UNREADABLE:
        return PeerCertificate(subject, issuer, whole, fingerprint(key, digest), (), verified)
    if not names:
        # Never the organisation: anybody may be called that.
        names = list(filter(None, [_attribute(certificate.subject, NameOID.COMMON_NAME)]))
    found = tuple(name.lower().rstrip(".") for name in (*names, *addresses) if name.isprintable())
    return PeerCertificate(subject, issuer, whole, fingerprint(key, digest), found, verified)


def _name(name: x509.Name) -> str:
    """For people: the common name, else the organisation."""
    return _attribute(name, NameOID.COMMON_NAME) or _attribute(name, NameOID.ORGANIZATION_NAME)


def _attribute(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    """What is not printable counts as absent."""
    for attribute in name.get_attributes_for_oid(oid):
        value = attribute.value
        if isinstance(value, str) and value.isprintable():
            return value
    return ""


def matches(name: str, pattern: str, *, several: bool = False) -> bool:
    """Is this host meant by a name of a certificate? A ``*`` stands for the leftmost label (RFC 6125 6.4.3).

    ``several``: for one or more (tls_wildcard_matches_multiple_labels).
    """
    name, pattern = name.lower().rstrip("."), pattern.lower().rstrip(".")
    if not pattern.startswith("*."):
        return bool(name) and name == pattern
    rest = pattern[2:]
    if "." not in rest or not name.endswith(f".{rest}"):
        return False
    labels = name.removesuffix(f".{rest}")
    return bool(labels) and (several or "." not in labels)


def issued_by_trusted(chain: Iterable[bytes], trusted: "dict[bytes, list[x509.Certificate]]", now: float) -> bool:
    """Does a chain that a peer sent (DER, its own certificate first) lead to one of ``trusted`` (by subject)?

    For the word Trusted in the log alone: where it decides anything OpenSSL checks the chain.
    """
    try:
        certificates = [x509.load_der_x509_certificate(der) for der in chain][:10]
        current = certificates[0]
        for _ in range(len(certificates) + 1):
            if not current.not_valid_before_utc.timestamp() <= now <= current.not_valid_after_utc.timestamp():
                return False
            anchors = trusted.get(current.issuer.public_bytes(), [])
            if any(_issued(current, anchor) for anchor in anchors):
                return True
            issuer = next((other for other in certificates[1:] if other.subject == current.issuer), None)
            if issuer is None or issuer is current or not _issued(current, issuer):
                return False
            current = issuer
    except (IndexError, *_UNREADABLE):
        return False
    return False


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # a bad signature, an unknown key type: all the same
        return False
    return True


Stamp = tuple[tuple[int, int, int] | None, ...]
"""Of each file: time, size, inode; zeroes where there is none, None where that cannot be told."""


class ServerCertificates:
    """The contexts of one server, made of its files; made again when those change.

    ``make`` gives a bare context, to which the chains are then added. ``clock`` is monotonic.
    """

    def __init__(
        self,
        files: Sequence[str],
        pairs: Sequence[tuple[str, str]],
        make: Callable[[], ssl.SSLContext],
        clock: Callable[[], float],
        others: Sequence[str] = (),
        names: "ServerNames | None" = None,
    ) -> None:
        """``files``: keys and chains in order. ``pairs``: (certificate, key) instead. ``others``: files that ``make``
        reads. ``names``: other chains for clients that ask for them by name. Raises nothing: trouble is logged, and
        ``context`` is None then.
        """
        self.names = names
        self._files = tuple(files)
        self._pairs = tuple(pairs)
        self._make = make
        self._clock = clock
        self._watched = tuple(dict.fromkeys([*files, *(path for pair in pairs for path in pair), *others]))
        self._of_names = names.files if names is not None else ()
        self._context: ssl.SSLContext | None = None
        self._bindings: dict[int, bytes] = {}
        self._old: ssl.SSLContext | None = None
        self._looked = self._made = clock()
        self._stamp = self._stamps(self._watched)
        self._stamp_of_names = self._stamps(self._of_names)
        self.stale = False
        """The files have changed and cannot be read any more: this process should give way to a new one."""
        try:
            self._load()
        except (CertificateError, OSError) as error:
            log.warning(f"TLS is not available: {_reason(error)}")

    def context(self) -> ssl.SSLContext | None:
        """For the next connection; None where there is no certificate that can be used."""
        now = self._clock()
        if now - self._looked >= _LOOK_INTERVAL:
            self._looked = now
            self._look(now)
        return self._context

    def binding(self, context: ssl.SSLContext | None) -> bytes:
        """tls-server-end-point data (RFC 5929 4.1) of the certificate that a connection with this context shows.

        Empty with several certificates, as it cannot be told which of them a client was shown.
        """
        named = self.names.binding(context) if self.names is not None else None
        return self._bindings.get(id(context), b"") if named is None else named

    def _look(self, now: float) -> None:
        if self.stale:
            return
        names = self._stamps(self._of_names)
        if _changed(names, self._stamp_of_names):
            self.stale = True
            log.info("certificates by name have changed and a new process is to read them: giving way")
            return
        stamp = self._stamps(self._watched)
        if not _changed(stamp, self._stamp):
            self.stale = None in (*stamp, *names) and now - self._made >= _BLIND_LIFETIME
            return
        self._stamp = stamp
        try:
            self._load()
        except PermissionError as error:
            self.stale = True
            log.info(f"certificates have changed and only a new process can read them ({error.filename}): giving way")
        except (CertificateError, OSError) as error:
            log.warning(f"certificates have changed and cannot be used, the old ones stay: {_reason(error)}")
        else:
            log.info(f"certificates read again: {', '.join(self._watched)}")

    def _load(self) -> None:
        if self._files:
            chains = parse_chains(read_files(self._files), " ".join(self._files))
        else:
            chains = ()
            for certificate, key in self._pairs:
                # A file that holds both is read once; the order of certificate and key in it does not matter.
                pem = read_files((key,) if key == certificate else (key, certificate))
                chains += parse_chains(key_first(pem), certificate)
        if not chains:
            raise CertificateError("no certificate is configured")
        context = self._make()
        if self.names is not None:
            context.sni_callback = self.names.choose
        for chain in chains:
            load_chain(context, chain)
        binding = end_point(chains[0].leaf) if len(chains) == 1 else b""
        # Sessions under way may still ask for the one before.
        old = self._context
        self._bindings = {id(old): self._bindings.get(id(old), b"")} if old is not None else {}
        self._old = old
        self._context = context
        self._bindings[id(context)] = binding

    def _stamps(self, paths: Sequence[str]) -> Stamp:
        found: list[tuple[int, int, int] | None] = []
        for path in paths:
            try:
                status = os.stat(path)
                found.append((status.st_mtime_ns, status.st_size, status.st_ino))
            except PermissionError:
                found.append(None)
            except OSError:
                found.append((0, 0, 0))
        return tuple(found)


def _changed(new: Stamp, old: Stamp) -> bool:
    """Before privileges were dropped a file may have been seen that cannot be looked at now: that is no change."""
    return any(one is not None and one != other for one, other in zip(new, old, strict=True))


def key_first(pem: bytes) -> bytes:
    """The first private key, then every certificate, in whatever order they were."""
    keys = [match[0] for match in _BLOCK.finditer(pem) if match[1].endswith(b"PRIVATE KEY")]
    rest = [match[0] for match in _BLOCK.finditer(pem) if not match[1].endswith(b"PRIVATE KEY")]
    return b"\n".join((*keys[:1], *rest))


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot read {error.filename}: {error.strerror}"
    return str(error)
