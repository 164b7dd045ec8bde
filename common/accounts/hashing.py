"""Makes what passwords are checked against: argon2id (RFC 9106), SCRAM keys (RFC 5802, RFC 5803), and hashes of
application passwords.
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass

from argon2 import PasswordHasher, Type

from tubepost.common.sasl.prep import prepare_password
from tubepost.common.accounts.passwords import StoredPassword
from tubepost.common.config.settings import Config

_SALT = 16
_SCRAM = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}
# 32 letters that are not taken for one another: 24 of them are 120 bits.
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
_APPLICATION_LETTERS = 24


@dataclass(frozen=True, slots=True)
class Cost:
    """``memory``: KiB, ``time``: passes (argon2); ``iterations`` of SCRAM; ``scram``: mechanisms that get keys."""

    memory: int = 65_536
    time: int = 3
    iterations: int = 10_000
    scram: tuple[str, ...] = ("SCRAM-SHA-1", "SCRAM-SHA-256")

    def hasher(self) -> PasswordHasher:
        return PasswordHasher(time_cost=self.time, memory_cost=self.memory, parallelism=1, type=Type.ID)


def cost_of(config: Config) -> Cost:
    """Of new passwords, by auth_argon2_*, auth_scram_iterations; SCRAM keys only where SCRAM is offered."""
    offered = {name.upper().removesuffix("-PLUS") for name in config.auth_mechanisms}
    return Cost(
        config.auth_argon2_memory,
        config.auth_argon2_time,
        config.auth_scram_iterations,
        tuple(name for name in _SCRAM if name in offered),
    )


def hash_password(password: str, cost: Cost) -> str:
    """``$argon2id$…``. Raises ValueError for what SASLprep forbids (RFC 4013)."""
    return cost.hasher().hash(prepare_password(password))


def store(password: str, cost: Cost) -> StoredPassword:
    """All that is kept of a password. Raises ValueError for what SASLprep forbids."""
    prepared = prepare_password(password)
    keys = {name: scram_keys(name, prepared, cost.iterations) for name in cost.scram}
    return StoredPassword(cost.hasher().hash(prepared), keys.get("SCRAM-SHA-1", ""), keys.get("SCRAM-SHA-256", ""))


def scram_keys(mechanism: str, prepared: str, iterations: int, salt: bytes | None = None) -> str:
    """RFC 5803's text. ``prepared``: after SASLprep."""
    algorithm = _SCRAM[mechanism]
    salt = salt or secrets.token_bytes(_SALT)
    # RFC 5802 3: SaltedPassword, ClientKey, StoredKey, ServerKey.
    salted = hashlib.pbkdf2_hmac(algorithm, prepared.encode(), salt, iterations)
    stored = hashlib.new(algorithm, hmac.digest(salted, b"Client Key", algorithm)).digest()
    server = hmac.digest(salted, b"Server Key", algorithm)
    return f"{mechanism}${iterations}:{_text(salt)}${_text(stored)}:{_text(server)}"


def make_application_password() -> str:
    """Random, in groups of six: ``abcdef-ghjkmn-…``; 120 bits."""
    letters = [secrets.choice(_LETTERS) for _ in range(_APPLICATION_LETTERS)]
    return "-".join("".join(letters[place : place + 6]) for place in range(0, _APPLICATION_LETTERS, 6))


def hash_application_password(password: str) -> str:
    """``{SSHA256}…``. One quick hash is enough against guessing where the password is random, and only then."""
    salt = secrets.token_bytes(_SALT)
    return "{SSHA256}" + _text(hashlib.sha256(plain_letters(password) + salt).digest() + salt)


def plain_letters(password: str) -> bytes:
    """An application password as it is hashed: programs and people put in blanks and leave out hyphens."""
    return password.replace("-", "").replace(" ", "").encode("utf-8", "surrogateescape")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
