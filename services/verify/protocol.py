"""What a finding is good for, at a time. Pure."""

from dataclasses import dataclass
from typing import Literal, cast

from tubepost.common.wire.verify import Verdict

Status = Literal["ok", "defer", "bounce", "todo"]
_STATUSES = ("ok", "defer", "bounce", "todo")

# A probe without an outcome is taken for lost after this long, seconds (Postfix verify.c PROBE_TTL).
PROBE_TIME = 1000.0
IN_PROGRESS = "Address verification in progress"


@dataclass(frozen=True, slots=True)
class Finding:
    """Times, 0 for none: ``probed`` when a probe was sent that has no outcome yet, ``updated`` when an outcome came."""

    status: Status
    probed: float
    updated: float
    reason: str


@dataclass(frozen=True, slots=True)
class Ages:
    """Seconds, and whether bad findings are kept (``address_verify_…``)."""

    positive_expire: float
    positive_refresh: float
    negative_expire: float
    negative_refresh: float
    negative_cache: bool


UNKNOWN = Finding("todo", 0.0, 0.0, IN_PROGRESS)


def judge(found: Finding | None, now: float, ages: Ages) -> tuple[Finding, bool]:
    """What may be told, and whether a probe is due."""
    current = UNKNOWN if found is None else found
    waiting = now - current.probed <= PROBE_TIME
    good = current.status == "ok"
    age = now - current.updated
    if not waiting and age > (ages.positive_expire if good else ages.negative_expire):
        current = UNKNOWN
        good, age = False, now
    due = not waiting and age > (ages.positive_refresh if good else ages.negative_refresh)
    return current, due


def after_probe(current: Finding, now: float, ages: Ages) -> Finding | None:
    """What to keep when a probe is sent: the finding with its time. None: nothing, as bad findings are not kept."""
    if current.updated or ages.negative_cache:
        return Finding(current.status, now, current.updated, current.reason)
    return None


def after_outcome(found: Finding | None, status: Status, reason: str, now: float, ages: Ages) -> Finding | None:
    """What to keep of an outcome; None: what was known stays."""
    if status == "ok":
        return Finding(status, 0.0, now, reason)
    if not ages.negative_cache:
        return None
    if found is not None and found.status == "ok" and now - found.updated <= ages.positive_expire:
        # One failed probe does not spoil a good finding.
        return None
    return Finding(status, 0.0, now, reason)


def verdict(finding: Finding) -> Verdict:
    return Verdict(status=finding.status, reason=finding.reason)


def encode(finding: Finding) -> str:
    """For tables of text, as Postfix has it: ``status:probed:updated:reason``."""
    reason = " ".join(finding.reason.split())
    return f"{_STATUSES.index(finding.status)}:{finding.probed:.0f}:{finding.updated:.0f}:{reason}"


def decode(text: str) -> Finding | None:
    """None for what is no finding."""
    parts = text.split(":", 3)
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() and len(part) < 16 for part in parts[:3]):
        return None
    number = int(parts[0])
    if number >= len(_STATUSES):
        return None
    return Finding(cast(Status, _STATUSES[number]), float(parts[1]), float(parts[2]), parts[3])
