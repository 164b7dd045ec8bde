"""Unknown recipients and senders of our own domains (Postfix: LOCAL_RECIPIENT_README, ADDRESS_CLASS_README).

Refused while the client waits, so that no bounce is ever needed for them. A table of all addresses must exist for the
class: where the parameter is empty, every address of the class is taken.
"""

from collections.abc import Awaitable, Callable

from tubepost.common.mail import dsn as status_codes
from tubepost.common.wire.rewrite import Resolved
from tubepost.common.tables import Maps, TableError
from tubepost.common.tables import address as search

from tubepost.services.smtpd.restrictions.evaluation import Evaluation
from tubepost.services.smtpd.restrictions.routes import route
from tubepost.services.smtpd.restrictions.words import DUNNO, RECIPIENT, SENDER, fit_status

Check = Callable[[Evaluation, str, str, str], int | Awaitable[int]]


def reject_unlisted_recipient(evaluation: Evaluation, _name: str, _kind: str, _argument: str) -> int | Awaitable[int]:
    recipient = evaluation.recipient
    if not recipient or evaluation.recipient_listed or not evaluation.world.check_unlisted:
        return DUNNO
    if not evaluation.warn_if_reject:
        evaluation.recipient_listed = True
    return _check(evaluation, evaluation.sender, recipient, RECIPIENT)


def reject_unlisted_sender(evaluation: Evaluation, _name: str, _kind: str, _argument: str) -> int | Awaitable[int]:
    sender = evaluation.sender
    if not sender or evaluation.sender_listed or not evaluation.world.check_unlisted:
        return DUNNO
    if not evaluation.warn_if_reject:
        evaluation.sender_listed = True
    return _check(evaluation, evaluation.recipient, sender, SENDER)


def _check(evaluation: Evaluation, other: str | None, address: str, kind: str) -> int | Awaitable[int]:
    found = route(evaluation, other, address)
    world = evaluation.world
    if not isinstance(found, Resolved) or not world.local.immediate:
        return _check_later(evaluation, found, address, kind)
    # Every RCPT comes through here: no coroutine, no waiting, where the tables are on this machine.
    asked = [maps for maps in _aliases(evaluation, kind) if maps.tables]
    listed = _listing(evaluation, found)
    if listed is not None:
        asked.append(listed[0])
    for maps in asked:
        if not maps.immediate:
            return _check_later(evaluation, found, address, kind)
    try:
        for maps in asked:
            if search.find_now(maps, found.recipient, delimiter=world.rules.recipient_delimiter, local=world.local):
                return DUNNO
    except TableError as error:
        raise _cannot_tell(evaluation, address, error) from error
    return _refuse(evaluation, found, address, kind, listed)


async def _check_later(evaluation: Evaluation, found: Resolved | Awaitable[Resolved], address: str, kind: str) -> int:
    resolved = found if isinstance(found, Resolved) else await found
    world = evaluation.world
    delimiter = world.rules.recipient_delimiter
    try:
        for maps in _aliases(evaluation, kind):
            if maps and await search.find(maps, resolved.recipient, delimiter=delimiter, local=world.local):
                return DUNNO
        listed = _listing(evaluation, resolved)
        if listed is not None and await search.find(
            listed[0], resolved.recipient, delimiter=delimiter, local=world.local
        ):
            return DUNNO
    except TableError as error:
        raise _cannot_tell(evaluation, address, error) from error
    return _refuse(evaluation, resolved, address, kind, listed)


def _aliases(evaluation: Evaluation, kind: str) -> tuple[Maps, ...]:
    world = evaluation.world
    if kind == SENDER:
        return world.recipient_canonical, world.sender_canonical, world.canonical, world.virtual_aliases
    return world.recipient_canonical, world.canonical, world.virtual_aliases


def _listing(evaluation: Evaluation, resolved: Resolved) -> tuple[Maps, int, str] | None:
    """The table that must have the address, the code where it has not, and how the reply calls the table."""
    world, rules = evaluation.world, evaluation.world.rules
    if resolved.transport in ("error", "retry"):
        return None
    match resolved.address_class:
        case "local":
            local = resolved.recipient.rpartition("@")[0].lower()
            # Made or taken up by this system itself, or due to everybody (RFC 5321 4.5.1).
            if local in ("postmaster", "mailer-daemon", rules.double_bounce_sender.lower()):
                return None
            listed = (world.local_recipients, rules.unknown_local_recipient_reject_code, "local recipient")
        case "virtual_mailbox":
            listed = (world.virtual_mailboxes, rules.unknown_virtual_mailbox_reject_code, "virtual mailbox")
        case "relay":
            listed = (world.relay_recipients, rules.unknown_relay_recipient_reject_code, "relay recipient")
        case _:
            return None
    return listed if listed[0] else None


def _refuse(
    evaluation: Evaluation, resolved: Resolved, address: str, kind: str, listed: tuple[Maps, int, str] | None
) -> int:
    rules = evaluation.world.rules
    detail = "1.0" if kind == SENDER else "1.1"
    if listed is not None:
        table = f" in {listed[2]} table" if rules.show_user_unknown_table_name else ""
        text = f"<{address}>: {kind} rejected: User unknown{table}"
        return evaluation.reject("bounce", listed[1], f"5.{detail}", text)
    if resolved.transport == "error":
        status, text = status_codes.split(resolved.nexthop, f"5.{detail}")
        code = rules.unknown_virtual_alias_reject_code if resolved.address_class == "virtual_alias" else 550
        return evaluation.reject("bounce", code, fit_status(status, kind), f"<{address}>: {kind} rejected: {text}")
    if resolved.transport == "retry":
        status, text = status_codes.split(resolved.nexthop, f"4.{detail}")
        return evaluation.reject("bounce", 450, fit_status(status, kind), f"<{address}>: {kind} rejected: {text}")
    return DUNNO


def _cannot_tell(evaluation: Evaluation, address: str, error: TableError) -> Exception:
    evaluation.world.warn(str(error))
    return evaluation.stop("data", 451, "4.3.0", f"<{address}>: Temporary lookup failure")
