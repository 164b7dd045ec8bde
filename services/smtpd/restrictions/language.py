"""A restriction list's text compiled into steps: names known, arguments read, mistakes told at once."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tubepost.common.tables.words import split_list

from tubepost.services.smtpd.restrictions import (
    access,
    addresses,
    client,
    dnslists,
    generic,
    helo,
    login,
    relay,
    servers,
    unlisted,
)
from tubepost.services.smtpd.restrictions.evaluation import Evaluation
from tubepost.services.smtpd.restrictions.words import CLIENT, ETRN, HELO, RECIPIENT, SENDER

Check = Callable[[Evaluation, str, str, str], int | Awaitable[int]]
"""(evaluation, name of what is judged, its class, argument) -> DUNNO, OK or REJECT."""


class Step(NamedTuple):
    """One restriction. ``warns``: warn_if_reject, which only prepares the next one."""

    name: str
    check: Check
    argument: str = ""
    warns: bool = False


_PLAIN: dict[str, Check] = {
    "permit": generic.permit,
    "reject": generic.reject,
    "defer": generic.defer,
    "defer_if_permit": generic.defer_if_permit,
    "defer_if_reject": generic.defer_if_reject,
    "reject_unauth_pipelining": generic.reject_unauth_pipelining,
    "reject_plaintext_session": generic.reject_plaintext_session,
    "permit_mynetworks": client.permit_mynetworks,
    "permit_inet_interfaces": client.permit_inet_interfaces,
    "permit_sasl_authenticated": login.permit_sasl_authenticated,
    "permit_tls_clientcerts": login.permit_tls_clientcerts,
    "permit_tls_all_clientcerts": login.permit_tls_all_clientcerts,
    "reject_sender_login_mismatch": login.reject_sender_login_mismatch,
    "reject_authenticated_sender_login_mismatch": login.reject_authenticated_sender_login_mismatch,
    "reject_known_sender_login_mismatch": login.reject_known_sender_login_mismatch,
    "reject_unauthenticated_sender_login_mismatch": login.reject_unauthenticated_sender_login_mismatch,
    "reject_unknown_client_hostname": client.reject_unknown_client_hostname,
    "reject_unknown_client": client.reject_unknown_client_hostname,
    "reject_unknown_forward_client_hostname": client.reject_unknown_forward_client_hostname,
    "reject_unknown_reverse_client_hostname": client.reject_unknown_reverse_client_hostname,
    "reject_invalid_helo_hostname": helo.reject_invalid_helo_hostname,
    "reject_invalid_hostname": helo.reject_invalid_helo_hostname,
    "reject_non_fqdn_helo_hostname": helo.reject_non_fqdn_helo_hostname,
    "reject_non_fqdn_hostname": helo.reject_non_fqdn_helo_hostname,
    "reject_unknown_helo_hostname": helo.reject_unknown_helo_hostname,
    "reject_unknown_hostname": helo.reject_unknown_helo_hostname,
    "permit_naked_ip_address": helo.permit_naked_ip_address,
    "reject_non_fqdn_sender": addresses.reject_non_fqdn_sender,
    "reject_non_fqdn_recipient": addresses.reject_non_fqdn_recipient,
    "reject_unknown_sender_domain": addresses.reject_unknown_sender_domain,
    "reject_unknown_address": addresses.reject_unknown_sender_domain,
    "reject_unknown_recipient_domain": addresses.reject_unknown_recipient_domain,
    "reject_unverified_sender": addresses.reject_unverified_sender,
    "reject_unverified_recipient": addresses.reject_unverified_recipient,
    "reject_multi_recipient_bounce": addresses.reject_multi_recipient_bounce,
    "reject_unlisted_sender": unlisted.reject_unlisted_sender,
    "reject_unlisted_recipient": unlisted.reject_unlisted_recipient,
    "check_recipient_maps": unlisted.reject_unlisted_recipient,
    "permit_auth_destination": relay.permit_auth_destination,
    "reject_unauth_destination": relay.reject_unauth_destination,
    "defer_unauth_destination": relay.defer_unauth_destination,
    "permit_mx_backup": relay.permit_mx_backup,
}

_WITH_TABLE: dict[str, Check] = {
    "check_client_access": access.check_client_access,
    "check_reverse_client_hostname_access": access.check_reverse_client_hostname_access,
    "check_helo_access": access.check_helo_access,
    "check_sender_access": access.check_sender_access,
    "check_recipient_access": access.check_recipient_access,
    "check_etrn_access": access.check_etrn_access,
    "check_sasl_access": access.check_sasl_access,
    "check_ccert_access": access.check_ccert_access,
    **servers.CHECKS,
}

_WITH_WORD: dict[str, Check] = {
    "check_policy_service": generic.check_policy_service,
    "sleep": generic.sleep,
    **dnslists.CHECKS,
}

_DEFAULT_TABLES = {
    CLIENT: "check_client_access",
    HELO: "check_helo_access",
    SENDER: "check_sender_access",
    RECIPIENT: "check_recipient_access",
    ETRN: "check_etrn_access",
}

_GUARDS_RELAY = frozenset(
    {"reject_unauth_destination", "defer_unauth_destination", "reject", "defer", "defer_if_permit"}
)


def compile_list(text: str, kind: str) -> tuple[Step, ...]:
    """Steps of a list for what is called ``kind``. A mistake becomes a step that refuses for now and logs why."""
    words = split_list(text)
    steps: list[Step] = []
    position = 0
    while position < len(words):
        word = words[position]
        name = word.lower()
        position += 1
        if ":" in word:
            # type:table alone is short for the check that fits the list.
            table_check = _DEFAULT_TABLES.get(kind)
            if table_check is None:
                steps.append(_broken(f'specify a check_…_access restriction before "{word}" in {kind} restrictions'))
            else:
                steps.append(Step(table_check, _WITH_TABLE[table_check], word))
        elif name == "warn_if_reject":
            steps.append(Step(name, generic.never, warns=True))
        elif name in _PLAIN:
            steps.append(Step(name, _PLAIN[name], word))
        elif name in _WITH_TABLE or name in _WITH_WORD:
            argument = words[position] if position < len(words) else ""
            position += 1
            steps.append(_with_argument(name, argument))
        else:
            steps.append(Step(name, run_class, word))
    return tuple(steps)


def _with_argument(name: str, argument: str) -> Step:
    if name in _WITH_TABLE:
        if ":" not in argument:
            return _broken(f'restriction {name}: bad argument "{argument}": need maptype:mapname')
        return Step(name, _WITH_TABLE[name], argument)
    if name == "check_policy_service" and ":" not in argument:
        return _broken(f"restriction {name} must be followed by transport:server")
    if name == "sleep" and not argument.isdecimal():
        return _broken(f"restriction {name} must be followed by number")
    if not argument:
        return _broken(f"restriction {name} requires domain name argument")
    return Step(name, _WITH_WORD[name], argument)


def _broken(explanation: str) -> Step:
    def refuse(evaluation: Evaluation, _name: str, _kind: str, _argument: str) -> int:
        raise evaluation.misconfigured(explanation)

    return Step("(mistake)", refuse)


async def run_class(evaluation: Evaluation, name: str, kind: str, argument: str) -> int:
    """A restriction class: the list that smtpd_restriction_classes gives a name to."""
    from tubepost.services.smtpd.restrictions import engine

    text = evaluation.world.restriction_class(argument)
    if text is None:
        raise evaluation.misconfigured(f'unknown smtpd restriction: "{argument}"')
    if evaluation.recursion > access.RECURSION_LIMIT:
        raise evaluation.misconfigured(f"restriction class {argument} causes unreasonable recursion")
    return await engine.run(evaluation, evaluation.world.steps(text, evaluation.list_kind), name, kind)


def guards_relay(text: str, classes: Callable[[str], str | None], depth: int = 0) -> bool:
    """Does this list have a restriction that can stop relaying? Postfix refuses to run without one; so do we."""
    for word in split_list(text):
        if word.lower() in _GUARDS_RELAY:
            return True
        inner = classes(word) if depth < 20 and ":" not in word else None
        if inner is not None and guards_relay(inner, classes, depth + 1):
            return True
    return False
