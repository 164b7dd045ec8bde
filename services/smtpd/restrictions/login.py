"""Restrictions on who has authenticated, by password or certificate, and on whose address is whose (SASL_README)."""

from tubepost.common.tables import TableError
from tubepost.common.tables import address as search

from tubepost.services.smtpd.restrictions.evaluation import Evaluation
from tubepost.services.smtpd.restrictions.routes import awaited, route
from tubepost.services.smtpd.restrictions.words import CLIENT, DUNNO, SENDER


def permit_sasl_authenticated(evaluation: Evaluation, _name: str, _kind: str, argument: str) -> int:
    client = evaluation.client
    return evaluation.permit(argument, CLIENT, client.identity) if client.user else DUNNO


def permit_tls_all_clientcerts(evaluation: Evaluation, _name: str, _kind: str, argument: str) -> int:
    """A certificate of any authority that smtpd_tls_CAfile names."""
    agreed = evaluation.client.agreed
    if agreed is None or agreed.certificate is None or not agreed.certificate.verified:
        return DUNNO
    return evaluation.permit(argument, CLIENT, evaluation.client.identity)


async def permit_tls_clientcerts(evaluation: Evaluation, _name: str, _kind: str, argument: str) -> int:
    """A certificate whose fingerprint, or whose key's, is in relay_clientcerts."""
    agreed = evaluation.client.agreed
    if agreed is None or agreed.certificate is None:
        return DUNNO
    try:
        if await evaluation.world.knows_certificate(agreed.certificate):
            return evaluation.permit(argument, CLIENT, evaluation.client.identity)
    except TableError as error:
        raise _cannot_tell(evaluation, evaluation.client.identity, error) from error
    return DUNNO


async def reject_sender_login_mismatch(evaluation: Evaluation, _name: str, _kind: str, argument: str) -> int:
    """The address belongs to somebody else, or to nobody."""
    return await _judge(evaluation, argument)


async def reject_unauthenticated_sender_login_mismatch(
    evaluation: Evaluation, _name: str, _kind: str, argument: str
) -> int:
    """The address belongs to somebody, and nobody has authenticated."""
    return DUNNO if evaluation.client.user else await _judge(evaluation, argument)


async def reject_authenticated_sender_login_mismatch(
    evaluation: Evaluation, _name: str, _kind: str, argument: str
) -> int:
    """Somebody has authenticated to whom the address does not belong."""
    return await _judge(evaluation, argument) if evaluation.client.user else DUNNO


async def reject_known_sender_login_mismatch(evaluation: Evaluation, _name: str, _kind: str, argument: str) -> int:
    """The address belongs to somebody else; those that smtpd_sender_login_maps does not have belong to everybody."""
    return await _judge(evaluation, argument, known=True)


async def _judge(evaluation: Evaluation, restriction: str, *, known: bool = False) -> int:
    sender, user, world = evaluation.sender, evaluation.client.user, evaluation.world
    if not user and not world.rules.smtpd_sasl_auth_enable:
        # Whoever owns the address could not say so here.
        world.warn(f'restriction "{restriction}" is ignored: smtpd_sasl_auth_enable is off')
        return DUNNO
    if not sender or not world.sender_logins:
        return DUNNO
    owners = await _owners(evaluation, sender)
    if owners is None and (known or not user):
        return DUNNO
    if user and user.casefold() in {owner.casefold() for owner in (owners or "").replace(",", " ").split()}:
        return DUNNO
    why = f"not owned by user {user}" if user else "not logged in"
    return evaluation.reject("policy", 553, "5.7.1", f"<{sender}>: {SENDER} rejected: {why}")


async def _owners(evaluation: Evaluation, sender: str) -> str | None:
    """The login names in smtpd_sender_login_maps, or None. Raises Stop."""
    world = evaluation.world
    resolved = await awaited(route(evaluation, evaluation.recipient, sender))
    try:
        found = await search.find(
            world.sender_logins, resolved.recipient, delimiter=world.rules.recipient_delimiter, local=world.local
        )
    except TableError as error:
        raise _cannot_tell(evaluation, sender, error) from error
    return found.value if found is not None else None


def _cannot_tell(evaluation: Evaluation, name: str, error: TableError) -> Exception:
    evaluation.world.warn(str(error))
    return evaluation.stop("data", 451, "4.3.0", f"<{name}>: Temporary lookup failure")
