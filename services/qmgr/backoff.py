"""When a deferred message is tried again, and when it is given up. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Seconds: minimal_backoff_time, maximal_backoff_time, maximal_queue_lifetime, bounce_queue_lifetime,
    delay_warning_time.
    """

    minimal: float
    maximal: float
    queue: float
    bounce: float
    warning: float


def next_try(arrival: float, now: float, lifetimes: Lifetimes, jitter: float) -> float:
    """As long again as the message has waited, within bounds (Postfix: qmgr_active.c): the wait doubles.

    ``jitter``: 0 … 1; up to a tenth is added, so that what failed together does not come back together.
    """
    wait = min(max(now - arrival, lifetimes.minimal), lifetimes.maximal)
    return now + wait * (1 + jitter / 10)


def expired(arrival: float, now: float, sender: str, lifetimes: Lifetimes) -> bool:
    """True when mail that could not be delivered now is to be returned. A lifetime of 0: after one try."""
    return now >= arrival + (lifetimes.queue if sender else lifetimes.bounce)


def warning_due(arrival: float, now: float, sender: str, warned: bool, lifetimes: Lifetimes) -> bool:
    """True when the sender is to be told that the message is delayed."""
    return bool(sender) and not warned and lifetimes.warning > 0 and now >= arrival + lifetimes.warning
