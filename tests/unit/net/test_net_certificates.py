"""Chains of PEM files, fingerprints, channel binding, names, and certificates that are renewed."""

import datetime
import hashlib
import os
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from tubepost.common.net import certificates, selfsigned
from tubepost.common.net.certificates import CertificateError, ServerCertificates, parse_chains


def make_context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_chains_are_keys_with_what_follows() -> None:
    key, certificate = selfsigned.make(["a.example"])
    other, second = selfsigned.make(["b.example"])
    chains = parse_chains(key + certificate + second + b"junk\n" + other + second, "x")
    assert [len(chain.certificates) for chain in chains] == [2, 1]
    assert x509.load_der_x509_certificate(chains[0].leaf).subject.rfc4514_string() == "CN=a.example"
    context = make_context()
    for chain in chains:
        certificates.load_chain(context, chain)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ("", "no private key"),
        ("c", "after its private key"),
        ("k", "no certificate"),
        ("kk", "without a certificate"),
    ],
)
def test_wrong_order_is_told(parts: str, words: str) -> None:
    key, certificate = selfsigned.make(["a.example"])
    with pytest.raises(CertificateError, match=words):
        parse_chains(b"".join({"k": key, "c": certificate}[part] for part in parts), "x")


def test_an_encrypted_key_is_told_and_nobody_is_asked_for_a_password() -> None:
    _, certificate = selfsigned.make(["a.example"])
    pem = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
    with pytest.raises(CertificateError, match="encrypted"):
        parse_chains(pem + certificate, "x")


def test_a_key_that_does_not_fit_is_told() -> None:
    key, _ = selfsigned.make(["a.example"])
    _, certificate = selfsigned.make(["a.example"])
    with pytest.raises(CertificateError, match="cannot be used"):
        certificates.load_chain(make_context(), parse_chains(key + certificate, "x")[0])


def test_end_point_is_the_hash_of_the_certificate() -> None:
    key, certificate = selfsigned.make(["a.example"])
    leaf = parse_chains(key + certificate, "x")[0].leaf
    assert certificates.end_point(leaf) == hashlib.sha256(leaf).digest()
    assert certificates.end_point(b"junk") == b""


def test_description() -> None:
    _, certificate = selfsigned.make(["Mail.Example", "*.other.example"], ["192.0.2.1"])
    der = x509.load_pem_x509_certificate(certificate).public_bytes(Encoding.DER)
    found = certificates.describe(der, "sha256", verified=True)
    assert found.subject == found.issuer == "Mail.Example"
    assert found.names == ("mail.example", "*.other.example", "192.0.2.1")
    assert found.fingerprint == hashlib.sha256(der).digest().hex(":").upper()
    assert found.fingerprint != found.public_key_fingerprint
    assert certificates.describe(b"junk").subject == ""


@pytest.mark.parametrize(
    ("name", "pattern", "same"),
    [
        ("mail.example", "mail.example", True),
        ("MAIL.example.", "mail.Example", True),
        ("a.mail.example", "*.mail.example", True),
        ("a.b.mail.example", "*.mail.example", False),
        ("mail.example", "*.mail.example", False),
        (".mail.example", "*.mail.example", False),
        ("mail.example", "*.example", False),
        ("example", "*", False),
        ("a.example", "*", False),
        ("a.example", "a*.example", False),
        ("mail.com", "*.com", False),
        ("", "", False),
    ],
)
def test_names(name: str, pattern: str, same: bool) -> None:
    assert certificates.matches(name, pattern) is same
    several = name == "a.b.mail.example"
    assert certificates.matches(name, pattern, several=True) is (same or several)


def test_a_renewed_certificate_is_noticed_and_a_broken_one_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "chain.pem"

    def write() -> bytes:
        key, certificate = selfsigned.make(["a.example"])
        path.write_bytes(key + certificate)
        return hashlib.sha256(parse_chains(key + certificate, "x")[0].leaf).digest()

    clock = Clock()
    first = write()
    known = ServerCertificates([str(path)], (), make_context, clock)
    context = known.context()
    assert known.binding(context) == first
    second = write()
    os.utime(path, ns=(1, 1))
    # Not looked at again at once.
    assert known.context() is context
    clock.now += 10
    renewed = known.context()
    assert renewed is not context
    assert (known.binding(renewed), known.binding(context)) == (second, first)
    path.write_bytes(b"half of a f")
    clock.now += 10
    assert known.context() is renewed
    path.unlink()
    clock.now += 10
    assert known.context() is renewed
    third = write()
    clock.now += 10
    assert known.binding(known.context()) == third
    assert not known.stale


def test_several_certificates_give_no_binding(tmp_path: Path) -> None:
    path = tmp_path / "chain.pem"
    path.write_bytes(b"".join(b"".join(selfsigned.make([name])) for name in ("a.example", "b.example")))
    known = ServerCertificates([str(path)], (), make_context, Clock())
    assert known.context() is not None
    assert known.binding(known.context()) == b""


def test_certificate_and_key_files_in_any_order(tmp_path: Path) -> None:
    key, certificate = selfsigned.make(["a.example"])
    (tmp_path / "cert.pem").write_bytes(certificate)
    (tmp_path / "key.pem").write_bytes(key)
    (tmp_path / "both.pem").write_bytes(certificate + key)
    both = str(tmp_path / "both.pem")
    for pair in ((str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")), (both, both)):
        assert ServerCertificates((), [pair], make_context, Clock()).context() is not None


def test_without_a_usable_file_there_is_no_context(tmp_path: Path) -> None:
    assert ServerCertificates([str(tmp_path / "none.pem")], (), make_context, Clock()).context() is None
    assert ServerCertificates((), (), make_context, Clock()).context() is None


def test_unreadable_after_a_change_means_giving_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "chain.pem"
    path.write_bytes(b"".join(selfsigned.make(["a.example"])))
    clock = Clock()
    known = ServerCertificates([str(path)], (), make_context, clock)
    context = known.context()

    def refuse(paths: object) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(certificates, "read_files", refuse)
    os.utime(path, ns=(1, 1))
    clock.now += 10
    assert known.context() is context
    assert known.stale


def _der(*subject: tuple[x509.ObjectIdentifier, str], names: tuple[str, ...] = ()) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in subject])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(5).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    if names:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(other) for other in names]), critical=False)
    made = made.add_extension(x509.SubjectKeyIdentifier(b"12345"), critical=False)
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_only_a_common_name_may_stand_for_a_host() -> None:
    """RFC 6125 6.4.4: an organisation of that name is no host of that name."""
    organisation = (NameOID.ORGANIZATION_NAME, "mail.example.com")
    assert certificates.describe(_der(organisation)).names == ()
    assert certificates.describe(_der(organisation)).subject == "mail.example.com"
    assert certificates.describe(_der(organisation, (NameOID.COMMON_NAME, "A.example"))).names == ("a.example",)
    with_names = _der((NameOID.COMMON_NAME, "a.example"), names=("b.example",))
    assert certificates.describe(with_names).names == ("b.example",)


def test_certificates_made_to_be_trouble_have_a_fingerprint_and_no_name() -> None:
    good = _der((NameOID.COMMON_NAME, "a.example"), names=("b.example",))
    # 2.5.29.14 becomes a second 2.5.29.17; X.509 version 6.
    twice = good.replace(bytes.fromhex("0603551d0e"), bytes.fromhex("0603551d11"))
    version = good.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020105"))
    for der in (twice, version, b"", b"\x30\x00"):
        assert der != good
        found = certificates.describe(der, verified=True)
        assert found.names == ()
        assert found.fingerprint == certificates.fingerprint(der, "sha256")
        assert isinstance(certificates.end_point(der), bytes)
        assert not certificates.issued_by_trusted([der, good], {b"": []}, 0)


_SAMPLE = _der((NameOID.COMMON_NAME, "a.example"), names=("b.example",))


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, len(_SAMPLE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_whatever_a_peer_shows_is_described(changes: list[tuple[int, int]]) -> None:
    der = bytearray(_SAMPLE)
    for place, value in changes:
        der[place] = value
    assert certificates.describe(bytes(der)).fingerprint
    assert isinstance(certificates.end_point(bytes(der)), bytes)
