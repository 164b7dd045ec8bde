"""The words of smtpd_sasl_security_options and smtp_sasl_security_options (Postfix: SASL_README). Pure."""

from collections.abc import Iterable

from tubepost.common.sasl.mechanisms import PLAINTEXT

CHOICES = ("noplaintext", "noactive", "nodictionary", "noanonymous", "forward_secrecy", "mutual_auth")

_GUESSABLE = PLAINTEXT | {"CRAM-MD5", "DIGEST-MD5"}


def allow(mechanisms: Iterable[str], options: Iterable[str]) -> tuple[str, ...]:
    """Those mechanisms that the options allow, in their order."""
    wanted = frozenset(options)
    found = []
    for mechanism in mechanisms:
        name = mechanism.upper()
        refused = (
            ("noanonymous" in wanted and name == "ANONYMOUS")
            or (wanted & {"noplaintext", "noactive"} and name in PLAINTEXT)
            # Who listens can try passwords at leisure.
            or ("nodictionary" in wanted and name in _GUESSABLE)
            # No mechanism here makes keys of its own.
            or "forward_secrecy" in wanted
            or ("mutual_auth" in wanted and not name.startswith("SCRAM-"))
        )
        if not refused:
            found.append(mechanism)
    return tuple(found)
