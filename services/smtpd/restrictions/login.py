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
    certificates = evaluation.world.client_certificates
    if agreed is None or agreed.certificate is None or not certificates:
        return DUNNO
    try:
        for fingerprint in (agreed.certificate.fingerprint, agreed.certificate.public_key_fingerprint):
            if fingerprint and await certificates.lookup(fingerprint) is not None:
                return evaluation.permit(argument, CLIENT, evaluation.client.identity)
    except TableError as error:
        raise _cannot_tell(evaluation, evaluation.client.identity, error) from error
    return DUNNO


async def reject_sender_login_mismatch(evaluation: Evaluation, name: str, kind: str, argument: str) -> int:
    """Both of the next two."""
    if evaluation.client.user:
        return await reject_authenticated_sender_login_mismatch(evaluation, name, kind, argument)
    return await reject_unauthenticated_sender_login_mismatch(evaluation, name, kind, argument)


async def reject_unauthenticated_sender_login_mismatch(
    evaluation: Evaluation, _name: str, _kind: str, _argument: str
) -> int:
    """The address belongs to somebody, and nobody has authenticated."""
    sender = evaluation.sender
    if not sender or evaluation.client.user or await _owners(evaluation, sender) is None:
        return DUNNO
    text = f"<{sender}>: {SENDER} rejected: not logged in"
    return evaluation.reject("policy", 553, "5.7.1", text)


async def reject_authenticated_sender_login_mismatch(
    evaluation: Evaluation, _name: str, _kind: str, _argument: str
) -> int:
    """Somebody has authenticated to whom the address does not belong."""
    return await _mismatch(evaluation, lenient=False)


async def reject_known_sender_login_mismatch(evaluation: Evaluation, _name: str, _kind: str, _argument: str) -> int:
    """The same, but addresses that smtpd_sender_login_maps does not have belong to everybody."""
    return await _mismatch(evaluation, lenient=True)


async def _mismatch(evaluation: Evaluation, *, lenient: bool) -> int:
    sender, user = evaluation.sender, evaluation.client.user
    if not sender or not user or not evaluation.world.sender_logins:
        return DUNNO
    owners = await _owners(evaluation, sender)
    if owners is None:
        if lenient:
            return DUNNO
    elif user.casefold() in {owner.casefold() for owner in owners.replace(",", " ").split()}:
        return DUNNO
    text = f"<{sender}>: {SENDER} rejected: not owned by user {user}"
    return evaluation.reject("policy", 553, "5.7.1", text)


async def _owners(evaluation: Evaluation, sender: str) -> str | None:
    """The login names in smtpd_sender_login_maps, or None. Raises Stop."""
    world = evaluation.world
    if not world.sender_logins:
        return None
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
