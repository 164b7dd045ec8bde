"""Who may relay: the first duty of this server. A destination is ours (final or in relay_domains), or it is not."""

from collections.abc import Awaitable

from tubepost.common.wire.rewrite import Resolved
from tubepost.common.tables import TableError

from tubepost.services.smtpd.restrictions.evaluation import Evaluation
from tubepost.services.smtpd.restrictions.routes import FINAL, awaited, domain_of, route
from tubepost.services.smtpd.restrictions.words import DUNNO, OK
from tubepost.services.smtpd.restrictions.world import NameUnknown, NameUnsure


def _is_routed(resolved: Resolved) -> bool:
    # user%other@here and user@other@here: "here" is ours, but the mail would go elsewhere.
    local = resolved.recipient.rpartition("@")[0]
    return "@" in local.strip('"') or "%" in local or "!" in local


def is_ours(evaluation: Evaluation, resolved: Resolved) -> bool:
    """May anybody send here?"""
    domain = domain_of(resolved.recipient)
    if domain is None:
        return True
    if not evaluation.world.rules.allow_untrusted_routing and _is_routed(resolved):
        return False
    return resolved.address_class in FINAL or resolved.address_class == "relay"


def permit_auth_destination(evaluation: Evaluation, name: str, kind: str, argument: str) -> int | Awaitable[int]:
    if evaluation.recipient is None:
        return DUNNO
    found = route(evaluation, evaluation.sender, evaluation.recipient)
    if isinstance(found, Resolved):
        return evaluation.permit(argument, kind, name) if is_ours(evaluation, found) else DUNNO
    return _permit_later(evaluation, name, kind, argument, found)


async def _permit_later(evaluation: Evaluation, name: str, kind: str, argument: str, found: Awaitable[Resolved]) -> int:
    return evaluation.permit(argument, kind, name) if is_ours(evaluation, await found) else DUNNO


def reject_unauth_destination(evaluation: Evaluation, _name: str, _kind: str, _argument: str) -> int | Awaitable[int]:
    return _unauth(evaluation, evaluation.world.rules.relay_domains_reject_code, "5.7.1")


def defer_unauth_destination(evaluation: Evaluation, _name: str, _kind: str, _argument: str) -> int | Awaitable[int]:
    """The default's last word: a mistake in main.cf then costs a delay, not mail."""
    return _unauth(evaluation, evaluation.world.rules.relay_domains_reject_code - 100, "4.7.1")


def _unauth(evaluation: Evaluation, code: int, status: str) -> int | Awaitable[int]:
    recipient = evaluation.recipient
    if recipient is None:
        return DUNNO
    found = route(evaluation, evaluation.sender, recipient)
    if isinstance(found, Resolved):
        return _refuse_foreign(evaluation, recipient, found, code, status)
    return _unauth_later(evaluation, recipient, found, code, status)


async def _unauth_later(
    evaluation: Evaluation, recipient: str, found: Awaitable[Resolved], code: int, status: str
) -> int:
    return _refuse_foreign(evaluation, recipient, await found, code, status)


def _refuse_foreign(evaluation: Evaluation, recipient: str, resolved: Resolved, code: int, status: str) -> int:
    if is_ours(evaluation, resolved):
        return DUNNO
    return evaluation.reject("policy", code, status, f"<{recipient}>: Relay access denied")


async def permit_mx_backup(evaluation: Evaluation, name: str, kind: str, argument: str) -> int:
    """We are a backup MX of the recipient's domain, and not its primary one."""
    recipient = evaluation.recipient
    if recipient is None:
        return DUNNO
    world = evaluation.world
    resolved = await awaited(route(evaluation, evaluation.sender, recipient))
    if is_ours(evaluation, resolved):
        return OK
    domain = domain_of(resolved.recipient) or ""
    if domain.startswith("[") or (not world.rules.allow_untrusted_routing and _is_routed(resolved)):
        return DUNNO
    try:
        exchangers = await world.resolver.exchangers(domain)
    except NameUnknown:
        return DUNNO
    except NameUnsure as error:
        text = f"<{name}>: {kind} rejected: Unable to look up mail exchanger information: {error}"
        return evaluation.defer_reject("policy", 450, "4.4.4", text)
    best = exchangers[0][0]
    primary = [host for preference, host in exchangers if preference == best]
    others = [host for preference, host in exchangers if preference != best]
    if await _any_is_mine(evaluation, primary, name, kind) or not await _any_is_mine(evaluation, others, name, kind):
        return DUNNO
    networks = world.mx_backup_networks
    if networks and not await _all_within(evaluation, primary, name, kind):
        return DUNNO
    return evaluation.permit(argument, kind, name)


async def _any_is_mine(evaluation: Evaluation, hosts: list[str], name: str, kind: str) -> bool:
    world = evaluation.world
    for host in hosts:
        if await _is_local(evaluation, host, name, kind):
            return True
        for address in await _addresses(evaluation, host, name, kind):
            if address in world.own_addresses:
                return True
    return False


async def _is_local(evaluation: Evaluation, host: str, name: str, kind: str) -> bool:
    world = evaluation.world
    if host.lower().rstrip(".") == world.rules.myhostname.lower():
        return True
    try:
        return await world.local.match(host)
    except TableError as error:
        world.warn(str(error))
        text = f"<{name}>: {kind} rejected: Unable to look up mail exchanger host {host}"
        evaluation.defer_reject("policy", 450, "4.4.4", text)
        return False


async def _all_within(evaluation: Evaluation, hosts: list[str], name: str, kind: str) -> bool:
    for host in hosts:
        addresses = await _addresses(evaluation, host, name, kind)
        if not addresses:
            return False
        for address in addresses:
            if not await evaluation.world.mx_backup_networks.match(address):
                return False
    return True


async def _addresses(evaluation: Evaluation, host: str, name: str, kind: str) -> tuple[str, ...]:
    try:
        return await evaluation.world.resolver.addresses(host)
    except (NameUnknown, NameUnsure) as error:
        text = f"<{name}>: {kind} rejected: Unable to look up mail exchanger host {host}: {error or 'not found'}"
        evaluation.defer_reject("policy", 450, "4.4.4", text)
        return ()
