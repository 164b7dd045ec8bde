"""How much TLS a destination gets, and whose certificate will do (Postfix: TLS_README, smtp_tls_policy_maps). Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tubepost.common.net import certificates
from tubepost.common.net.certificates import PeerCertificate

LEVELS = ("none", "may", "encrypt", "verify", "secure", "fingerprint")
_GRADES = ("medium", "high")
_REPEATED = frozenset({"match", "connection_reuse"})
# RFC 1123 2.1
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,62})(?:\.[a-z0-9][a-z0-9-]{0,62})*", re.IGNORECASE)


class PolicyError(Exception):
    """A line of smtp_tls_policy_maps that cannot be understood."""


@dataclass(frozen=True, slots=True)
class Policy:
    """``matches``: words of smtp_tls_…_cert_match, or fingerprints. ``mandatory`` values where TLS is required."""

    level: str = "none"
    protocols: str = ">=TLSv1.2"
    ciphers: str = "medium"
    excluded: tuple[str, ...] = ()
    matches: tuple[str, ...] = ()
    wrapper: bool = False
    servername: str = ""
    """For SNI, instead of smtp_tls_servername."""
    reuse: bool | None = None
    """Instead of smtp_tls_connection_reuse."""
    several: bool = False
    """tls_wildcard_matches_multiple_labels."""

    @property
    def wanted(self) -> bool:
        return self.level != "none"

    @property
    def required(self) -> bool:
        return self.level not in ("none", "may")

    @property
    def trusting(self) -> bool:
        """The certificate must come from an authority."""
        return self.level in ("verify", "secure")

    @property
    def verifies(self) -> bool:
        return self.trusting or self.level == "fingerprint"


@dataclass(frozen=True, slots=True)
class Defaults:
    """What main.cf says for every destination."""

    level: str
    protocols: str
    mandatory_protocols: str
    ciphers: str
    mandatory_ciphers: str
    excluded: tuple[str, ...]
    mandatory_excluded: tuple[str, ...]
    verify_matches: tuple[str, ...]
    secure_matches: tuple[str, ...]
    fingerprints: tuple[str, ...]
    wrapper: bool = False
    several: bool = False

    def policy(self, level: str = "") -> Policy:
        """For this level, without anything that a table says."""
        level = level or self.level or "none"
        if self.wrapper and level in ("none", "may"):
            # There is no plain text on such a port.
            level = "encrypt"
        mandatory = level not in ("none", "may")
        matches = {
            "verify": self.verify_matches,
            "secure": self.secure_matches,
            "fingerprint": self.fingerprints,
        }.get(level, ())
        return Policy(
            level=level,
            protocols=self.mandatory_protocols if mandatory else self.protocols,
            ciphers=self.mandatory_ciphers if mandatory else self.ciphers,
            excluded=(*self.excluded, *(self.mandatory_excluded if mandatory else ())),
            matches=matches,
            wrapper=self.wrapper,
            several=self.several and level in ("verify", "secure"),
        )


def parse(text: str, defaults: Defaults) -> Policy:
    """``secure match=example.com:.example.com protocols=TLSv1.3 ciphers=high exclude=RC4``. Raises PolicyError."""
    words = text.replace(",", " ").split()
    if not words or words[0].lower() not in LEVELS:
        raise PolicyError(f'invalid security level "{words[0] if words else ""}": write one of {", ".join(LEVELS)}')
    policy = defaults.policy(words[0].lower())
    matches: list[str] = []
    seen: set[str] = set()
    for word in words[1:]:
        name, equals, value = word.partition("=")
        name = name.lower()
        if not equals or not value:
            raise PolicyError(f'"{word}" is no attribute: write name=value')
        if name in seen:
            raise PolicyError(f'attribute "{name}" stands there twice')
        if name not in _REPEATED:
            seen.add(name)
        if name == "match" and policy.verifies:
            matches += value.split("|" if policy.level == "fingerprint" else ":")
        elif name == "protocols" and policy.wanted:
            policy = replace(policy, protocols=value.replace(":", " "))
        elif name == "ciphers" and policy.wanted and value.lower() in _GRADES:
            policy = replace(policy, ciphers=value.lower())
        elif name == "exclude" and policy.wanted:
            policy = replace(policy, excluded=tuple(value.split(":")))
        elif name == "servername" and policy.wanted and _HOST_NAME.fullmatch(value):
            policy = replace(policy, servername=value)
        elif name == "connection_reuse" and policy.wanted and value.lower() in ("yes", "no"):
            policy = replace(policy, reuse=value.lower() == "yes")
        else:
            raise PolicyError(f'attribute "{word}" is not understood for the level {policy.level}')
    if matches:
        policy = replace(policy, matches=tuple(match for match in matches if match))
    if policy.level == "fingerprint" and not policy.matches:
        raise PolicyError("the level fingerprint needs a fingerprint to match")
    return policy


def lookup_keys(nexthop: str) -> list[str]:
    """What smtp_tls_policy_maps is asked for: the next hop as it is written, then the domains above it."""
    key = nexthop.lower()
    keys = [key]
    if "[" not in key and ":" not in key:
        position = key.find(".")
        while position >= 0:
            keys.append(key[position:])
            position = key.find(".", position + 1)
    return keys


def is_accepted(policy: Policy, certificate: PeerCertificate | None, host: str, nexthop: str) -> bool:
    """Is this the server that was meant? Whether its authority is trusted is decided elsewhere."""
    if not policy.verifies:
        return True
    if certificate is None:
        return False
    if policy.level == "fingerprint":
        wanted = {match.upper() for match in policy.matches}
        return bool(wanted & {certificate.fingerprint, certificate.public_key_fingerprint} - {""})
    patterns = _patterns(policy.matches, host, nexthop)
    return any(_has_name(certificate.names, pattern, policy.several) for pattern in patterns)


def _patterns(matches: Sequence[str], host: str, nexthop: str) -> list[str]:
    """``.example.com`` means every host below it."""
    known = {"hostname": host, "nexthop": nexthop, "dot-nexthop": f".{nexthop}"}
    return [known.get(match, match).lower() for match in matches]


def _has_name(names: Sequence[str], pattern: str, several: bool) -> bool:
    if not pattern.strip("."):
        return False
    if pattern.startswith("."):
        return any(name.removeprefix("*").endswith(pattern) for name in names)
    return any(certificates.matches(pattern, name, several=several) for name in names)


def parse_password(text: str) -> tuple[str, str]:
    """``user:password`` of smtp_sasl_password_maps."""
    user, _, password = text.partition(":")
    return user, password
