"""Client certificates of whomever, in handshakes in memory: taken, and told apart."""

import gc
import ssl
from pathlib import Path

import pytest

from tubepost.common.net import clientcerts, selfsigned

from tests.fakes import tls

pytestmark = pytest.mark.skipif(clientcerts._library() is None, reason="not with this Python")


class Pair:
    """A server that trusts one certificate, and a client that shows one, or none."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.known = selfsigned.make(["known.example"])
        self.other = selfsigned.make(["other.example"])
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.load(self.server, selfsigned.make(["server.example"]))
        self.server.verify_mode = ssl.CERT_OPTIONAL
        self.server.load_verify_locations(cadata=self.known[1].decode())

    def load(self, context: ssl.SSLContext, pair: tuple[bytes, bytes]) -> None:
        path = self.tmp_path / "pair.pem"
        path.write_bytes(b"".join(pair))
        context.load_cert_chain(path)

    def client(self, shown: tuple[bytes, bytes] | None, version: ssl.TLSVersion) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = version
        if shown is not None:
            self.load(context, shown)
        return context

    def shake(
        self, client: ssl.SSLContext, session: ssl.SSLSession | None = None
    ) -> tuple[ssl.SSLObject, ssl.SSLObject]:
        """Server's end, client's end. Raises SSLError."""
        here, there = tls.shake(self.server, client, session=session)
        here.write(b"x")
        assert there.read(1) == b"x"
        return here, there


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS)
def test_python_itself_ends_the_handshake(pair: Pair, version: ssl.TLSVersion) -> None:
    """When this fails all of this has become needless."""
    with pytest.raises(ssl.SSLCertVerificationError):
        pair.shake(pair.client(pair.other, version))


@pytest.mark.parametrize("version", VERSIONS)
def test_any_is_taken_and_told_apart(pair: Pair, version: ssl.TLSVersion) -> None:
    assert clientcerts.accept_any(pair.server)
    for shown, verified in ((pair.known, True), (pair.other, False)):
        here, there = pair.shake(pair.client(shown, version))
        assert here.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(shown[1].decode())
        assert clientcerts.is_verified(here) is verified
        # A session that is resumed has the certificate of the first, and is no more trusted than that.
        again, _ = pair.shake(there.context, there.session)
        assert again.session_reused
        assert clientcerts.is_verified(again) is verified
    here, _ = pair.shake(pair.client(None, version))
    assert here.getpeercert(binary_form=True) is None


def test_only_the_context_that_was_told_so(pair: Pair, tmp_path: Path) -> None:
    clientcerts.accept_any(pair.server)
    strict = Pair(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        strict.shake(strict.client(strict.other, ssl.TLSVersion.TLSv1_3))
    here, _ = strict.shake(strict.client(strict.known, ssl.TLSVersion.TLSv1_3))
    assert clientcerts.is_verified(here)
    # Who is asked for none has none that is verified.
    strict.server.verify_mode = ssl.CERT_NONE
    here, _ = strict.shake(strict.client(None, ssl.TLSVersion.TLSv1_3))
    assert not clientcerts.is_verified(here)


def test_a_certificate_that_has_expired_is_not_verified(pair: Pair, tmp_path: Path) -> None:
    expired = make_expired()
    pair.server.load_verify_locations(cadata=expired[1].decode())
    clientcerts.accept_any(pair.server)
    here, _ = pair.shake(pair.client(expired, ssl.TLSVersion.TLSv1_3))
    assert not clientcerts.is_verified(here)


def make_expired() -> tuple[bytes, bytes]:
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "old.example")])
    start = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return secret, certificate.public_bytes(serialization.Encoding.PEM)


def test_a_session_outlives_its_context(pair: Pair) -> None:
    clientcerts.accept_any(pair.server)
    here, _ = pair.shake(pair.client(pair.other, ssl.TLSVersion.TLSv1_3))
    pair.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    gc.collect()
    assert not clientcerts.is_verified(here)
