"""The transcript of a session for the postmaster (notify_classes). Pure."""

import textwrap
from collections.abc import Iterable

CLASSES = frozenset({"bounce", "data", "policy", "protocol", "resource", "software"})
"""notify_classes that a session can cause."""

_WIDTH = 78


def is_wanted(troubles: Iterable[str], notify_classes: Iterable[str]) -> bool:
    """Whether the administrator asked for notices of any of these."""
    return bool(set(troubles) & {name.lower() for name in notify_classes})


def write(
    *, mail_name: str, myorigin: str, recipient: str, role: str, peer: str, transcript: Iterable[str], reason: str
) -> bytes:
    """The notice's content; cleanup adds Date and Message-ID. ``role``: what we are to ``peer``, ``SMTP server``."""
    lines = [
        f"From: Mail Delivery System <MAILER-DAEMON@{myorigin}>",
        f"To: Postmaster <{recipient}>",
        f"Subject: {mail_name} {role}: errors from {peer}",
        "Auto-Submitted: auto-generated",
        "",
        "Transcript of session follows.",
        "",
    ]
    for line in transcript:
        clean = "".join(character if character.isprintable() else "?" for character in line)
        lines += textwrap.wrap(clean, _WIDTH, initial_indent=" ", subsequent_indent="     ") or [""]
    lines.append("")
    if reason:
        lines += ["", f"Session aborted, reason: {reason}"]
    lines += ["", "For other details, see the local mail logfile", ""]
    return "\n".join(lines).encode("utf-8", "replace")
