"""How passwords are stored, by Dovecot's ``{SCHEME}`` names and crypt(3)'s ``$id$``: is this the password?

Blocking and heavy: for threads. Comparisons take the same time wherever two texts first differ.
"""

import base64
import binascii
import ctypes
import hashlib
import hmac
import re
import threading
from collections.abc import Callable

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from tubepost.common.sasl.prep import saslprep
from tubepost.common.sasl.scram import parse_keys
from tubepost.common.accounts.hashing import plain_letters

_SCHEME = re.compile(r"\{([A-Za-z0-9-]+)(?:\.(HEX|B64|BASE64))?\}", re.IGNORECASE)
_ARGON = PasswordHasher()
# Work that a stored hash may ask for: nobody's database is to stop the service.
_MOST_ITERATIONS = 10_000_000
# crypt(3) takes no longer ones (CRYPT_MAX_PASSPHRASE_SIZE, with the final NUL), so no hash is of one.
_CRYPT_LIMIT = 511


class UnknownScheme(Exception):
    """The hash is of a kind that is not known here, or is damaged."""


def check(stored: str, password: str) -> bool:
    """``stored``: with ``{SCHEME}``, or as crypt(3) has it. Raises UnknownScheme."""
    match = _SCHEME.match(stored)
    if match is None:
        if stored.startswith("$argon2"):
            return _argon(stored, password)
        return _crypt(stored, password)
    verify = _SCHEMES.get(match[1].upper())
    if verify is None:
        raise UnknownScheme(f"the password scheme {match[1]} is not known here")
    try:
        return verify(stored[match.end() :], password, (match[2] or "").upper())
    except (ValueError, binascii.Error, IndexError) as error:
        raise UnknownScheme(f"the stored {match[1]} hash is damaged: {error}") from None


def clear_text(stored: str) -> str | None:
    """The password itself, where it is stored in clear."""
    # None too where it is damaged: no password is right then.
    match = _SCHEME.match(stored)
    if match is None or match[1].upper() not in ("PLAIN", "CLEARTEXT", "CLEAR"):
        return None
    try:
        return _plain(stored[match.end() :], (match[2] or "").upper()).decode("utf-8", "replace")
    except ValueError:
        return None


def scram_text(stored: str, scheme: str) -> str | None:
    """RFC 5803's text of a ``{SCRAM-…}`` hash (Dovecot writes its four fields with commas)."""
    match = _SCHEME.match(stored)
    if match is None or match[1].upper() != scheme:
        return None
    rest = stored[match.end() :]
    if rest.startswith(scheme):
        return rest
    iterations, salt, stored_key, server_key = [*rest.split(","), "", "", ""][:4]
    return f"{scheme}${iterations}:{salt}${stored_key}:{server_key}"


def _argon(stored: str, password: str) -> bool:
    try:
        return _ARGON.verify(stored, password)
    except VerifyMismatchError:
        return False
    except (InvalidHashError, VerificationError) as error:
        raise UnknownScheme(f"the stored argon2 hash is damaged: {error}") from None


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogateescape")


def _decode(text: str, encoding: str, size: int = 0) -> bytes:
    """Hexadecimal where the suffix says so, or the length does; base64 otherwise. Raises ValueError."""
    if encoding == "HEX" or (not encoding and size and len(text) == size):
        return bytes.fromhex(text)
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _plain(text: str, encoding: str) -> bytes:
    return _decode(text, encoding) if encoding else _bytes(text)


def _check_plain(text: str, password: str, encoding: str) -> bool:
    return hmac.compare_digest(_plain(text, encoding), _bytes(password))


def _digest(algorithm: str, salted: bool) -> "Callable[[str, str, str], bool]":
    size = hashlib.new(algorithm, usedforsecurity=False).digest_size

    def verify(text: str, password: str, encoding: str) -> bool:
        data = _decode(text, encoding, 0 if salted else size * 2)
        if len(data) < size or (not salted and len(data) != size):
            raise ValueError("it is too short" if len(data) < size else "it is too long")
        salt = data[size:]
        made = hashlib.new(algorithm, usedforsecurity=False)
        made.update(_bytes(password) + salt)
        if hmac.compare_digest(made.digest(), data[:size]):
            return True
        # Application passwords are made of this too, and are typed with and without their hyphens.
        if not salted or algorithm != "sha256":
            return False
        made = hashlib.sha256(plain_letters(password) + salt)
        return hmac.compare_digest(made.digest(), data[:size])

    return verify


def _pbkdf2(text: str, password: str, _encoding: str) -> bool:
    # Dovecot: $1$salt$iterations$SHA-1 of 20 bytes in hexadecimal.
    _, version, salt, iterations, wanted = text.split("$")
    if version != "1" or not 0 < int(iterations) <= _MOST_ITERATIONS:
        raise ValueError("unknown version or iterations")
    made = hashlib.pbkdf2_hmac("sha1", _bytes(password), salt.encode(), int(iterations))
    return hmac.compare_digest(made.hex(), wanted.lower())


def _scram(algorithm: str, scheme: str) -> "Callable[[str, str, str], bool]":
    def verify(text: str, password: str, _encoding: str) -> bool:
        keys = parse_keys(scram_text(f"{{{scheme}}}{text}", scheme) or "")
        if not 0 < keys.iterations <= _MOST_ITERATIONS:
            raise ValueError("too many iterations")
        salted = hashlib.pbkdf2_hmac(algorithm, saslprep(password).encode(), keys.salt, keys.iterations)
        stored_key = hashlib.new(algorithm, hmac.digest(salted, b"Client Key", algorithm)).digest()
        return hmac.compare_digest(stored_key, keys.stored_key)

    return verify


# -- crypt(3) ----------------------------------------------------------------------------------------------------------

_library: ctypes.CDLL | None
for _name in ("libcrypt.so.1", "libcrypt.so.2", "libcrypt.so"):
    try:
        _library = ctypes.CDLL(_name)
    except OSError:
        continue
    _library.crypt.restype = ctypes.c_char_p
    _library.crypt.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    break
else:
    _library = None
# crypt(3) has one buffer for its answer.
_crypt_lock = threading.Lock()


def _crypt(stored: str, password: str) -> bool:
    # "*" and "!" are a locked account's: no password is right.
    if not stored or stored[0] in "*!" or "\0" in stored or "\0" in password:
        return False
    if len(_bytes(password)) > _CRYPT_LIMIT:
        return False
    if _library is None:
        raise UnknownScheme("the library libcrypt, which checks such a hash, is not installed")
    with _crypt_lock:
        made: bytes | None = _library.crypt(_bytes(password), _bytes(stored))
    # A failure is told by None, or by a text that begins with "*".
    if made is None or made.startswith(b"*"):
        raise UnknownScheme("crypt(3) does not know such a hash")
    return hmac.compare_digest(made, _bytes(stored))


def _check_crypt(text: str, password: str, _encoding: str) -> bool:
    return _crypt(text, password)


_SCHEMES: dict[str, Callable[[str, str, str], bool]] = {
    **dict.fromkeys(("PLAIN", "CLEARTEXT", "CLEAR"), _check_plain),
    **dict.fromkeys(
        ("CRYPT", "DES-CRYPT", "MD5-CRYPT", "SHA256-CRYPT", "SHA512-CRYPT", "BLF-CRYPT", "MD5"), _check_crypt
    ),
    **dict.fromkeys(("ARGON2I", "ARGON2ID"), lambda text, password, _: _argon(text, password)),
    "PLAIN-MD5": _digest("md5", False),
    "LDAP-MD5": _digest("md5", False),
    "SMD5": _digest("md5", True),
    "SHA": _digest("sha1", False),
    "SHA1": _digest("sha1", False),
    "SHA256": _digest("sha256", False),
    "SHA512": _digest("sha512", False),
    "SSHA": _digest("sha1", True),
    "SSHA256": _digest("sha256", True),
    "SSHA512": _digest("sha512", True),
    "PBKDF2": _pbkdf2,
    "SCRAM-SHA-1": _scram("sha1", "SCRAM-SHA-1"),
    "SCRAM-SHA-256": _scram("sha256", "SCRAM-SHA-256"),
}
