"""Restrictions on the sender's and the recipient's address."""

from tubepost.services.smtpd.restrictions.evaluation import Evaluation
from tubepost.services.smtpd.restrictions.helo import is_mail_hostname
from tubepost.services.smtpd.restrictions.routes import FINAL, awaited, domain_of, route
from tubepost.services.smtpd.restrictions.words import DUNNO, RECIPIENT, SENDER
from tubepost.services.smtpd.restrictions.world import NameUnknown, NameUnsure


def reject_non_fqdn_sender(evaluation: Evaluation, _name: str, _kind: str, _argument: str) -> int:
    return _non_fqdn(evaluation, evaluation.sender, SENDER)


def reject_non_fqdn_recipient(evaluation: Evaluation, _name: str, _kind: str, _argument: str) -> int:
    return _non_fqdn(evaluation, evaluation.recipient, RECIPIENT)


def _non_fqdn(evaluation: Evaluation, address: str | None, kind: str) -> int:
    if not address:
        return DUNNO
    domain = (domain_of(address) or "").removesuffix(".")
    if domain.startswith("[") and domain.endswith("]"):
        return DUNNO
    if "." in domain and is_mail_hostname(domain, smtputf8=evaluation.smtputf8):
        return DUNNO
    code = evaluation.world.rules.non_fqdn_reject_code
    return evaluation.reject("policy", code, "4.5.2", f"<{address}>: {kind} rejected: need fully-qualified address")


async def reject_unknown_sender_domain(evaluation: Evaluation, _name: str, _kind: str, _argument: str) -> int:
    return await _unknown_domain(evaluation, evaluation.sender, evaluation.recipient, SENDER)


async def reject_unknown_recipient_domain(evaluation: Evaluation, _name: str, _kind: str, _argument: str) -> int:
    return await _unknown_domain(evaluation, evaluation.recipient, evaluation.sender, RECIPIENT)


async def _unknown_domain(evaluation: Evaluation, address: str | None, other: str | None, kind: str) -> int:
    """Not final here, and its domain has neither MX nor address, or a null MX."""
    if not address:
        return DUNNO
    resolved = await awaited(route(evaluation, other, address))
    domain = domain_of(resolved.recipient)
    if domain is None or resolved.address_class in FINAL or domain.startswith("["):
        return DUNNO
    world = evaluation.world
    status = "4.1.8" if kind == SENDER else "4.1.2"
    unsure = False
    try:
        exchangers = await world.resolver.exchangers(domain)
        if exchangers[0][1] in ("", "."):
            # RFC 7505 4.1, 4.2
            text = f"<{address}>: {kind} rejected: Domain {domain} does not accept mail (nullMX)"
            if kind == SENDER:
                return evaluation.reject("policy", 550, "4.7.27", text)
            return evaluation.reject("policy", 556, "4.1.10", text)
        return DUNNO
    except NameUnknown:
        pass
    except NameUnsure:
        unsure = True
    try:
        await world.resolver.addresses(domain)
        return DUNNO
    except NameUnknown:
        pass
    except NameUnsure:
        unsure = True
    text = f"<{address}>: {kind} rejected: Domain not found"
    if unsure:
        act = world.rules.unknown_address_tempfail_action == "defer_if_permit"
        return evaluation.defer_permit(act, "policy", 450, status, text)
    return evaluation.reject("policy", world.rules.unknown_address_reject_code, status, text)


async def reject_unverified_sender(evaluation: Evaluation, _name: str, _kind: str, _argument: str) -> int:
    rules = evaluation.world.rules
    return await _unverified(
        evaluation,
        evaluation.sender,
        SENDER,
        "4.1.7",
        rules.unverified_sender_defer_code,
        rules.unverified_sender_reject_code,
        rules.unverified_sender_tempfail_action == "defer_if_permit",
        rules.unverified_sender_reject_reason,
    )


async def reject_unverified_recipient(evaluation: Evaluation, _name: str, _kind: str, _argument: str) -> int:
    rules = evaluation.world.rules
    return await _unverified(
        evaluation,
        evaluation.recipient,
        RECIPIENT,
        "4.1.1",
        rules.unverified_recipient_defer_code,
        rules.unverified_recipient_reject_code,
        rules.unverified_recipient_tempfail_action == "defer_if_permit",
        rules.unverified_recipient_reject_reason,
    )


async def _unverified(
    evaluation: Evaluation,
    address: str | None,
    kind: str,
    status: str,
    defer_code: int,
    reject_code: int,
    act: bool,
    reason: str,
) -> int:
    """ADDRESS_VERIFICATION_README: a probe is under way the first time; its outcome is waited for a little."""
    if not address:
        return DUNNO
    world = evaluation.world
    count = 0
    while True:
        verdict = await world.verify(address)
        if verdict is None:
            text = f"<{address}>: {kind} rejected: address verification problem"
            return evaluation.defer_permit(act, "policy", 450, status, text)
        count += 1
        if verdict.status != "todo" or count >= world.rules.address_verify_poll_count:
            break
        await world.sleep(world.rules.address_verify_poll_delay)
    if verdict.status == "ok":
        return DUNNO
    code = reject_code if verdict.status == "bounce" else defer_code
    if code < 400:
        return DUNNO
    why = reason or verdict.reason or "Address verification in progress"
    if code < 500:
        text = f"<{address}>: {kind} rejected: unverified address: {why[:250]}"
        return evaluation.defer_permit(act, "policy", code, status, text)
    text = f"<{address}>: {kind} rejected: undeliverable address: {why[:250]}"
    return evaluation.reject("policy", code, status, text)


def reject_multi_recipient_bounce(evaluation: Evaluation, name: str, kind: str, _argument: str) -> int:
    """A bounce goes to one address. At RCPT the recipients before this one count, at DATA all."""
    if evaluation.sender != "":
        return DUNNO
    many = evaluation.recipient_count > (0 if evaluation.where == "RCPT" else 1)
    if not many:
        return DUNNO
    code = evaluation.world.rules.multi_recipient_bounce_reject_code
    return evaluation.reject("policy", code, "5.5.3", f"<{name}>: {kind} rejected: Multi-recipient bounce")
