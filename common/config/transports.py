"""Parameters that every transport of master.cf has: ``<transport>_<suffix>``, with a common default. Pure.

Postfix manual: postconf(5), the entries that begin with "transport_".
"""

from collections.abc import Callable

from tubepost.common.config.declare import AnyParameter, Integer, Text, Time

# suffix: (name of the parameter that gives the default, or its text; what it is)
_FEEDBACK = "feedback amount: a number, or number/concurrency"


def _declare(kind: Callable[..., AnyParameter], default: str, doc: str, **more: int) -> AnyParameter:
    return kind(default, doc, **more)


SUFFIXES: dict[str, AnyParameter] = {
    "delivery_slot_cost": _declare(
        Integer, "$default_delivery_slot_cost", "How many recipients earn one slot for preempting another message."
    ),
    "delivery_slot_discount": _declare(
        Integer, "$default_delivery_slot_discount", "Percent of the slots that need not yet be earned.", high=100
    ),
    "delivery_slot_loan": _declare(
        Integer, "$default_delivery_slot_loan", "Slots that may be borrowed before they are earned."
    ),
    "destination_concurrency_failed_cohort_limit": _declare(
        Integer,
        "$default_destination_concurrency_failed_cohort_limit",
        "How many rounds of failed connections make a destination count as dead.",
    ),
    "destination_concurrency_limit": _declare(
        Integer, "$default_destination_concurrency_limit", "Most deliveries at one time to one destination."
    ),
    "destination_concurrency_negative_feedback": _declare(
        Text, "$default_destination_concurrency_negative_feedback", f"What a failure takes off the window: {_FEEDBACK}."
    ),
    "destination_concurrency_positive_feedback": _declare(
        Text, "$default_destination_concurrency_positive_feedback", f"What a success adds to the window: {_FEEDBACK}."
    ),
    "destination_rate_delay": _declare(
        Time, "$default_destination_rate_delay", "Pause between deliveries to one destination."
    ),
    "destination_recipient_limit": _declare(
        Integer, "$default_destination_recipient_limit", "Most recipients in one delivery."
    ),
    "initial_destination_concurrency": _declare(
        Integer, "$initial_destination_concurrency", "Concurrency that a destination starts with.", low=1
    ),
    "minimum_delivery_slots": _declare(
        Integer, "$default_minimum_delivery_slots", "Messages that can earn fewer slots are never preempted."
    ),
    "time_limit": _declare(Time, "$command_time_limit", "Longest run of a command that this transport starts.", low=1),
    "transport_rate_delay": _declare(
        Time, "$default_transport_rate_delay", "Pause between deliveries of this transport."
    ),
}

for _suffix, _parameter in SUFFIXES.items():
    _parameter.name = _suffix

_LONGEST_FIRST = sorted(SUFFIXES, key=len, reverse=True)


def split_name(name: str) -> tuple[str, AnyParameter] | None:
    """(transport, parameter of the suffix) of ``smtp_destination_concurrency_limit``; None for any other name.

    The name need not belong to a transport that exists: ``a_recipient_limit`` is split as well.
    """
    for suffix in _LONGEST_FIRST:
        if name.endswith(suffix) and len(name) > len(suffix) + 1 and name[-len(suffix) - 1] == "_":
            return name[: -len(suffix) - 1], SUFFIXES[suffix]
    return None
