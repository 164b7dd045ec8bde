"""Where an address leads, for the checks that ask (rewrite service, from memory in the common case)."""

from collections.abc import Awaitable

from tubepost.common.wire.rewrite import Resolved

from tubepost.services.smtpd.restrictions.evaluation import Evaluation

FINAL = frozenset({"local", "virtual_alias", "virtual_mailbox"})
"""Address classes that end here."""


def route(evaluation: Evaluation, sender: str | None, address: str) -> Resolved | Awaitable[Resolved]:
    """At once where it is known."""
    known = evaluation.world.known_route(sender or "", address)
    return known if known is not None else _ask(evaluation, sender or "", address)


async def _ask(evaluation: Evaluation, sender: str, address: str) -> Resolved:
    resolved = await evaluation.world.resolve(sender, address)
    if resolved.error == "table_failure":
        raise evaluation.stop("data", 451, "4.3.0", f"<{address}>: Temporary lookup failure")
    return resolved


async def awaited(answer: Resolved | Awaitable[Resolved]) -> Resolved:
    """For checks that need not be fast."""
    return answer if isinstance(answer, Resolved) else await answer


def domain_of(address: str) -> str | None:
    """What stands behind the last @; None where there is none."""
    _local, at, domain = address.rpartition("@")
    return domain if at else None
