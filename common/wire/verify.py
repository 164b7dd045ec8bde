"""verify/1: is this address deliverable? (reject_unverified_recipient, reject_unverified_sender)"""

from typing import Final, Literal

from tubepost.common.wire.base import Done, Message

PROTOCOL = "verify/1"

PROBE: Final = "verify-probe"
"""``envelope.origin.log_ident`` of a probe: delivery stops before the last step, and qmgr tells verify the outcome."""

_DIGITS = "0123456789bcdfghjklmnpqrstvwxyz"


class Query(Message):
    """Answered by Verdict at once, from the cache; an unknown address starts a probe and gets ``todo``."""

    address: str


class Verdict(Message):
    status: Literal["ok", "defer", "bounce", "todo"]
    reason: str = ""


class Update(Message):
    """From qmgr: the outcome of a probe. Answered by Done."""

    address: str
    status: Literal["ok", "defer", "bounce"]
    reason: str = ""


def probe_sender(sender: str, ttl: float, now: float, myorigin: str) -> str:
    """The sender of probes at a time: address_verify_sender, completed; with a ttl its local part ends in the number of
    the period (address_verify_sender_ttl, seconds). Empty for the null sender.
    """
    if sender in ("", "<>"):
        return ""
    local, at, domain = sender.rpartition("@")
    if not at:
        local, domain = sender, myorigin
    return f"{local}{_period(int(now // ttl))}@{domain}" if ttl else f"{local}@{domain}"


def is_probe_sender(address: str, sender: str, ttl: float, now: float, myorigin: str) -> bool:
    """Is it a sender of probes of this period, or of the last or next one (a slow peer, a slow clock)?"""
    times = (now - ttl, now, now + ttl) if ttl else (now,)
    return any(address.lower() == probe_sender(sender, ttl, time, myorigin).lower() for time in times)


def _period(number: int) -> str:
    digits = ""
    while number or not digits:
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


__all__ = ["PROBE", "PROTOCOL", "Done", "Query", "Update", "Verdict", "is_probe_sender", "probe_sender"]
