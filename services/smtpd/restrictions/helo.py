"""Restrictions on the name that the client gave itself."""

import ipaddress
import re

from tubepost.common.tables.match import literal_address

from tubepost.services.smtpd.restrictions.evaluation import Evaluation
from tubepost.services.smtpd.restrictions.words import DUNNO, HELO, OK
from tubepost.services.smtpd.restrictions.world import NameUnknown, NameUnsure
from tubepost.services.smtpd.xclient import is_hostname

_UTF8_LABELS = re.compile(r"[^\x00-\x2c\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]{1,255}")


def is_mail_hostname(name: str, *, smtputf8: bool = False) -> bool:
    """A valid host name; with ``smtputf8`` also one outside ASCII (RFC 6531 3.3)."""
    if name.isascii() or not smtputf8:
        return is_hostname(name)
    return _UTF8_LABELS.fullmatch(name) is not None and ".." not in name and not name.startswith(".")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _judge_literal(evaluation: Evaluation, helo: str) -> int:
    # RFC 5321 4.1.3
    if literal_address(helo) is not None:
        return DUNNO
    code = evaluation.world.rules.invalid_hostname_reject_code
    return evaluation.reject("policy", code, "5.5.2", f"<{helo}>: {HELO} rejected: invalid ip address")


def reject_invalid_helo_hostname(evaluation: Evaluation, _name: str, _kind: str, _argument: str) -> int:
    helo = evaluation.helo
    if not helo:
        return DUNNO
    code = evaluation.world.rules.invalid_hostname_reject_code
    if helo.startswith("["):
        return _judge_literal(evaluation, helo)
    if is_hostname(helo.removesuffix(".")) or _is_address(helo):
        return DUNNO
    return evaluation.reject("policy", code, "5.5.2", f"<{helo}>: {HELO} rejected: Invalid name")


def reject_non_fqdn_helo_hostname(evaluation: Evaluation, _name: str, _kind: str, _argument: str) -> int:
    helo = evaluation.helo
    if not helo:
        return DUNNO
    if helo.startswith("["):
        return _judge_literal(evaluation, helo)
    rules = evaluation.world.rules
    if is_mail_hostname(helo.removesuffix("."), smtputf8=evaluation.smtputf8) and "." in helo.removesuffix("."):
        return DUNNO
    text = f"<{helo}>: {HELO} rejected: need fully-qualified hostname"
    return evaluation.reject("policy", rules.non_fqdn_reject_code, "5.5.2", text)


async def reject_unknown_helo_hostname(evaluation: Evaluation, _name: str, _kind: str, _argument: str) -> int:
    """The name has an A, AAAA or MX record."""
    helo = evaluation.helo
    if not helo:
        return DUNNO
    if helo.startswith("["):
        return _judge_literal(evaluation, helo)
    rules = evaluation.world.rules
    resolver = evaluation.world.resolver
    unsure = False
    for question in (resolver.addresses, resolver.exchangers):
        try:
            await question(helo)
            return DUNNO
        except NameUnknown:
            pass
        except NameUnsure:
            unsure = True
    text = f"<{helo}>: {HELO} rejected: Host not found"
    if unsure:
        act = rules.unknown_helo_hostname_tempfail_action == "defer_if_permit"
        return evaluation.defer_permit(act, "policy", 450, "4.7.1", text)
    return evaluation.reject("policy", rules.unknown_hostname_reject_code, "4.7.1", text)


def permit_naked_ip_address(evaluation: Evaluation, name: str, kind: str, argument: str) -> int:
    """HELO with an address without brackets; Postfix keeps it with a warning, for old configurations."""
    if evaluation.helo and _is_address(evaluation.helo):
        evaluation.world.warn('restriction permit_naked_ip_address is deprecated; use "permit_mynetworks" instead')
        status = evaluation.permit(argument, kind, name)
        return OK if status == OK else DUNNO
    return DUNNO
