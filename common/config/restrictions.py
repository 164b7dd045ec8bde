"""The restrictions that smtpd knows, by what follows each: so that a list can be checked before smtpd reads it.

tests/unit/config keeps these names equal to smtpd's own tables.
"""

from collections.abc import Callable, Iterator, Sequence

PLAIN = frozenset(
    [
        "check_recipient_maps",
        "reject_authenticated_sender_login_mismatch",
        "reject_known_sender_login_mismatch",
        "reject_sender_login_mismatch",
        "reject_unauthenticated_sender_login_mismatch",
        "defer",
        "defer_if_permit",
        "defer_if_reject",
        "defer_unauth_destination",
        "permit",
        "permit_auth_destination",
        "permit_inet_interfaces",
        "permit_mx_backup",
        "permit_mynetworks",
        "permit_naked_ip_address",
        "permit_sasl_authenticated",
        "permit_tls_all_clientcerts",
        "permit_tls_clientcerts",
        "reject",
        "reject_invalid_helo_hostname",
        "reject_invalid_hostname",
        "reject_multi_recipient_bounce",
        "reject_non_fqdn_helo_hostname",
        "reject_non_fqdn_hostname",
        "reject_non_fqdn_recipient",
        "reject_non_fqdn_sender",
        "reject_plaintext_session",
        "reject_unauth_destination",
        "reject_unauth_pipelining",
        "reject_unknown_address",
        "reject_unknown_client",
        "reject_unknown_client_hostname",
        "reject_unknown_forward_client_hostname",
        "reject_unknown_helo_hostname",
        "reject_unknown_hostname",
        "reject_unknown_recipient_domain",
        "reject_unknown_reverse_client_hostname",
        "reject_unknown_sender_domain",
        "reject_unlisted_recipient",
        "reject_unlisted_sender",
        "reject_unverified_recipient",
        "reject_unverified_sender",
    ]
)
"""Stand alone."""

WITH_TABLE = frozenset(
    [
        "check_client_a_access",
        "check_client_access",
        "check_client_mx_access",
        "check_client_ns_access",
        "check_etrn_access",
        "check_sasl_access",
        "check_ccert_access",
        "check_helo_a_access",
        "check_helo_access",
        "check_helo_mx_access",
        "check_helo_ns_access",
        "check_recipient_a_access",
        "check_recipient_access",
        "check_recipient_mx_access",
        "check_recipient_ns_access",
        "check_reverse_client_hostname_a_access",
        "check_reverse_client_hostname_access",
        "check_reverse_client_hostname_mx_access",
        "check_reverse_client_hostname_ns_access",
        "check_sender_a_access",
        "check_sender_access",
        "check_sender_mx_access",
        "check_sender_ns_access",
    ]
)
"""Followed by type:table."""

WITH_WORD = frozenset(
    [
        "check_policy_service",
        "permit_dnswl_client",
        "permit_rhswl_client",
        "reject_rbl",
        "reject_rbl_client",
        "reject_rhsbl_client",
        "reject_rhsbl_helo",
        "reject_rhsbl_recipient",
        "reject_rhsbl_reverse_client",
        "reject_rhsbl_sender",
        "sleep",
    ]
)
"""Followed by one word."""


def mistakes(words: Sequence[str], is_class: Callable[[str], bool]) -> Iterator[str]:
    """What is wrong in a restriction list that was split into words. ``is_class``: is this a restriction class?"""
    position = 0
    while position < len(words):
        word = words[position]
        name = word.lower()
        position += 1
        if name in WITH_TABLE or name in WITH_WORD:
            argument = words[position] if position < len(words) else ""
            position += 1
            if not argument:
                yield f"{word} needs an argument"
            elif name in WITH_TABLE and ":" not in argument:
                yield f"{word} {argument}: the argument must be type:table"
        elif ":" not in word and name not in PLAIN and name != "warn_if_reject" and not is_class(word):
            yield f"there is no restriction {word}"


def tables(words: Sequence[str]) -> Iterator[str]:
    """The ``type:table`` words of a restriction list."""
    before = ""
    for word in words:
        if ":" in word and before not in WITH_WORD:
            # check_ccert_access { type:table, { search_order = … } }
            yield word[1:].split(None, 1)[0].rstrip(",") if word.startswith("{") else word
        before = word.lower()
