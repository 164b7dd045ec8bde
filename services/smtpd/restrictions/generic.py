"""Restrictions that look at nothing in particular: permit, reject, defer …, sleep, and the policy service."""

from tubepost.common.smtp import xtext

from tubepost.services.smtpd.restrictions import access
from tubepost.services.smtpd.restrictions.evaluation import Evaluation
from tubepost.services.smtpd.restrictions.words import DUNNO

# What an action may be asked to wait; a session must not sleep past its own timeout.
_LONGEST_SLEEP = 120


def never(_evaluation: Evaluation, _name: str, _kind: str, _argument: str) -> int:
    """For names that are known and cannot match."""
    return DUNNO


def permit(evaluation: Evaluation, name: str, kind: str, argument: str) -> int:
    return evaluation.permit(argument, kind, name)


def reject(evaluation: Evaluation, name: str, kind: str, _argument: str) -> int:
    code = evaluation.world.rules.reject_code
    return evaluation.reject("policy", code, "5.7.1", f"<{name}>: {kind} rejected: Access denied")


def defer(evaluation: Evaluation, name: str, kind: str, _argument: str) -> int:
    code = evaluation.world.rules.defer_code
    return evaluation.reject("policy", code, "4.3.2", f"<{name}>: {kind} rejected: Try again later")


def defer_if_permit(evaluation: Evaluation, name: str, kind: str, _argument: str) -> int:
    text = f"<{name}>: {kind} rejected: defer_if_permit requested"
    return evaluation.defer_permit(True, "policy", 450, "4.7.0", text)


def defer_if_reject(evaluation: Evaluation, name: str, kind: str, _argument: str) -> int:
    text = f"<{name}>: {kind} rejected: defer_if_reject requested"
    return evaluation.defer_reject("policy", 450, "4.7.0", text)


def reject_unauth_pipelining(evaluation: Evaluation, name: str, kind: str, _argument: str) -> int:
    if not evaluation.pipelined:
        return DUNNO
    text = f"<{name}>: {kind} rejected: Improper use of SMTP command pipelining"
    return evaluation.reject("protocol", 503, "5.5.0", text)


def reject_plaintext_session(evaluation: Evaluation, _name: str, _kind: str, _argument: str) -> int:
    if evaluation.client.agreed is not None:
        return DUNNO
    code = evaluation.world.rules.plaintext_reject_code
    return evaluation.reject("policy", code, "4.7.1", "Session encryption is required")


async def sleep(evaluation: Evaluation, _name: str, _kind: str, argument: str) -> int:
    await evaluation.world.sleep(min(int(argument[:9]), _LONGEST_SLEEP))
    return DUNNO


async def check_policy_service(evaluation: Evaluation, name: str, kind: str, argument: str) -> int:
    """SMTPD_POLICY_README: the attributes are sent, the answer is an action as in access(5)."""
    world = evaluation.world
    action, answered = await world.ask_policy(argument, policy_attributes(evaluation))
    depth = evaluation.enter_policy()
    try:
        if not answered and depth > 1:
            # The default action may itself name a policy service that does not answer.
            action = "451 4.3.5 Server configuration problem"
        return await access.act(evaluation, argument, action, "policy query", name, kind)
    finally:
        evaluation.leave_policy()


def policy_attributes(evaluation: Evaluation) -> dict[str, str]:
    """What a policy service is told; attributes that do not apply are there and empty."""
    client = evaluation.client
    agreed = client.agreed
    certificate = agreed.certificate if agreed is not None else None
    known = certificate if certificate is not None and certificate.verified else None
    where = "DATA" if evaluation.where == "BDAT" else evaluation.where
    counted = where in ("DATA", "END-OF-MESSAGE")
    return {
        "request": "smtpd_access_policy",
        "protocol_state": where,
        "protocol_name": evaluation.protocol,
        "client_address": client.address,
        "client_name": client.name,
        "client_port": client.port,
        "reverse_client_name": client.reverse_name,
        "server_address": client.local_address,
        "server_port": client.local_port,
        "helo_name": evaluation.helo,
        "sender": evaluation.sender or "",
        "recipient": evaluation.recipient or "",
        "recipient_count": str(evaluation.recipient_count if counted else 0),
        "queue_id": evaluation.queue_id,
        "instance": evaluation.instance,
        "size": str(evaluation.content_size or evaluation.size),
        "etrn_domain": evaluation.etrn,
        "stress": evaluation.world.rules.stress,
        "sasl_method": client.method,
        "sasl_username": client.user,
        "sasl_sender": evaluation.sasl_sender,
        "ccert_subject": xtext.encode(known.subject) if known is not None else "",
        "ccert_issuer": xtext.encode(known.issuer) if known is not None else "",
        "ccert_fingerprint": certificate.fingerprint if certificate is not None else "",
        "ccert_pubkey_fingerprint": certificate.public_key_fingerprint if certificate is not None else "",
        "encryption_protocol": agreed.protocol if agreed is not None else "",
        "encryption_cipher": agreed.cipher if agreed is not None else "",
        "encryption_keysize": str(agreed.bits) if agreed is not None else "0",
        "mail_version": evaluation.world.rules.mail_version,
    }
