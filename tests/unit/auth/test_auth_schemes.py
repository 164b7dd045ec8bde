"""Stored passwords of other systems: hashes that were made by their own tools."""

import pytest

from tubepost.common.accounts.hashing import hash_application_password, make_application_password, scram_keys

from tubepost.services.auth import schemes

# Made by crypt(3), openssl passwd, slappasswd and Dovecot's documents for the password "test" unless said otherwise.
KNOWN = [
    "{PLAIN}test",
    "{PLAIN.HEX}74657374",
    "{CLEARTEXT.b64}dGVzdA==",
    "{PLAIN-MD5}098f6bcd4621d373cade4e832627b4f6",
    "{PLAIN-MD5.b64}CY9rzUYh03PK3k6DJie09g==",
    "{LDAP-MD5}CY9rzUYh03PK3k6DJie09g==",
    "{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=",
    "{SHA.HEX}a94a8fe5ccb19ba61c4c0873d391e987982fbbd3",
    "{SHA256}n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=",
    "{SHA512.hex}ee26b0dd4af7e749aa1a8ee3c10ae9923f618980772e473f8819a5d4940e0db2"
    "7ac185f8a0e1d5f84f88bc887fd67b143732c304cc5fa9ad8e6f57f50028a8ff",
]


@pytest.mark.parametrize("stored", KNOWN)
def test_known_hashes(stored: str) -> None:
    assert schemes.check(stored, "test")
    assert not schemes.check(stored, "Test")
    assert not schemes.check(stored, "")


def test_salted_hashes() -> None:
    import base64
    import hashlib

    for scheme, algorithm in (("SMD5", "md5"), ("SSHA", "sha1"), ("SSHA256", "sha256"), ("SSHA512", "sha512")):
        made = base64.b64encode(hashlib.new(algorithm, b"test" + b"salt").digest() + b"salt").decode()
        assert schemes.check(f"{{{scheme}}}{made}", "test")
        assert not schemes.check(f"{{{scheme}}}{made}", "test2")


@pytest.mark.parametrize(
    ("stored", "password"),
    [
        # Of Ulrich Drepper's specification of SHA-crypt, and of the bcrypt and MD5-crypt test vectors.
        ("$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5", "Hello world!"),
        (
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
            "Hello world!",
        ),
        ("$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "{CRYPT}"])
def test_crypt(stored: str, password: str, prefix: str) -> None:
    assert schemes.check(prefix + stored, password)
    assert not schemes.check(prefix + stored, password + "x")


def test_locked_accounts_have_no_right_password() -> None:
    for stored in ("*", "!", "!!", "{CRYPT}*", "!$6$salt$x"):
        assert not schemes.check(stored, "")
        assert not schemes.check(stored, stored)


def test_argon2_pbkdf2_and_scram() -> None:
    stored = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
    assert schemes.check(stored, "password")
    assert schemes.check("{ARGON2ID}" + stored, "password")
    assert not schemes.check(stored, "Password")
    # RFC 6070: PBKDF2-HMAC-SHA-1.
    assert schemes.check("{PBKDF2}$1$salt$4096$4b007901b765489abead49d926f721d065a429c1", "password")
    assert not schemes.check("{PBKDF2}$1$salt$4096$4b007901b765489abead49d926f721d065a429c1", "other")
    keys = scram_keys("SCRAM-SHA-256", "pencil", 4096, b"salt")
    dovecot = "{SCRAM-SHA-256}" + keys.partition("$")[2].replace(":", ",").replace("$", ",")
    assert schemes.check(dovecot, "pencil")
    assert not schemes.check(dovecot, "pen")
    assert schemes.scram_text(dovecot, "SCRAM-SHA-256") == keys
    assert schemes.scram_text(dovecot, "SCRAM-SHA-1") is None


def test_application_passwords_are_taken_as_people_type_them() -> None:
    made = make_application_password()
    stored = hash_application_password(made)
    assert schemes.check(stored, made)
    assert schemes.check(stored, made.replace("-", ""))
    assert schemes.check(stored, made.replace("-", " "))
    assert not schemes.check(stored, made[:-1])


@pytest.mark.parametrize(
    "stored",
    [
        "{NONSENSE}x",
        "{SHA}short",
        "{SHA}*",
        "{PBKDF2}$1$salt$99999999999$00",
        "{PBKDF2}x",
        "{SCRAM-SHA-256}1,2",
        "$argon2id$v=19$m=",
        "{PLAIN.HEX}zz",
        "$9$unknown",
    ],
)
def test_damaged_hashes_are_told_of_and_never_right(stored: str) -> None:
    with pytest.raises(schemes.UnknownScheme):
        schemes.check(stored, "test")


def test_only_clear_ones_are_given_away() -> None:
    assert schemes.clear_text("{PLAIN}a:b") == "a:b"
    assert schemes.clear_text("{CLEARTEXT.HEX}6162") == "ab"
    assert schemes.clear_text("{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=") is None
    assert schemes.clear_text("$6$x$y") is None
    assert schemes.clear_text("{PLAIN.B64}a") is None
    assert schemes.clear_text("{PLAIN.HEX}abc") is None
