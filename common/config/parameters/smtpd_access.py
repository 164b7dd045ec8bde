"""Refusing clients, senders and recipients (the smtpd program): what its restrictions need, and their reply codes."""

from tubepost.common.sasl import options
from tubepost.common.config.declare import Boolean, Choice, Integer, List, Maps, Raw, Settings, Text

_TEMPORARY = ("defer_if_permit", "defer")


def _code(default: str, doc: str) -> Integer:
    return Integer(default, doc, low=200, high=599)


class SmtpdAccess(Settings):
    access_map_reject_code = _code("554", "Reply code of REJECT in an access table.")
    access_map_defer_code = _code("450", "Reply code of DEFER in an access table.")
    reject_code = _code("554", "Reply code of the reject restriction.")
    defer_code = _code("450", "Reply code of the defer restriction.")
    invalid_hostname_reject_code = _code("501", "Reply code of reject_invalid_helo_hostname.")
    maps_rbl_reject_code = _code("554", "Reply code of reject_rbl_client and its relatives.")
    non_fqdn_reject_code = _code("504", "Reply code of reject_non_fqdn_*.")
    multi_recipient_bounce_reject_code = _code("550", "Reply code of reject_multi_recipient_bounce.")
    plaintext_reject_code = _code("450", "Reply code of reject_plaintext_session.")
    relay_domains_reject_code = _code("554", "Reply code of reject_unauth_destination.")
    unknown_address_reject_code = _code("450", "Reply code of reject_unknown_sender_domain and _recipient_domain.")
    unknown_client_reject_code = _code("450", "Reply code of reject_unknown_client_hostname.")
    unknown_hostname_reject_code = _code("450", "Reply code of reject_unknown_helo_hostname.")
    unknown_local_recipient_reject_code = _code("550", "Reply code for users that local_recipient_maps does not have.")
    unknown_relay_recipient_reject_code = _code(
        "550", "Reply code for addresses that relay_recipient_maps does not have."
    )
    unknown_virtual_alias_reject_code = _code("550", "Reply code for addresses that virtual_alias_maps does not have.")
    unknown_virtual_mailbox_reject_code = _code(
        "550", "Reply code for addresses that virtual_mailbox_maps does not have."
    )
    unverified_recipient_reject_code = _code("450", "Reply code of reject_unverified_recipient after a bounced probe.")
    unverified_recipient_defer_code = _code("450", "Reply code of reject_unverified_recipient after a deferred probe.")
    unverified_recipient_reject_reason = Text("", "Text of that reply instead of what the probe found.")
    unverified_sender_reject_code = _code("450", "Reply code of reject_unverified_sender after a bounced probe.")
    unverified_sender_defer_code = _code("450", "Reply code of reject_unverified_sender after a deferred probe.")
    unverified_sender_reject_reason = Text("", "Text of that reply instead of what the probe found.")
    reject_tempfail_action = Choice(
        "defer_if_permit", "What a reject restriction does when it cannot tell now.", choices=_TEMPORARY
    )
    unknown_address_tempfail_action = Choice(
        "$reject_tempfail_action",
        "The same for reject_unknown_sender_domain and _recipient_domain.",
        choices=_TEMPORARY,
    )
    unknown_helo_hostname_tempfail_action = Choice(
        "$reject_tempfail_action", "The same for reject_unknown_helo_hostname.", choices=_TEMPORARY
    )
    unverified_recipient_tempfail_action = Choice(
        "$reject_tempfail_action", "The same for reject_unverified_recipient.", choices=_TEMPORARY
    )
    unverified_sender_tempfail_action = Choice(
        "$reject_tempfail_action", "The same for reject_unverified_sender.", choices=_TEMPORARY
    )
    default_rbl_reply = Raw(
        "$rbl_code Service unavailable; $rbl_class [$rbl_what] blocked using $rbl_domain${rbl_reason?; $rbl_reason}",
        "Reply to a client that a DNS list names.",
    )
    rbl_reply_maps = Maps("", "Table of such replies by list.")
    permit_mx_backup_networks = List("", "Networks of primary MX hosts that permit_mx_backup requires; empty: any.")
    allow_untrusted_routing = Boolean("no", "Relay addresses with sender-given routing, user@elsewhere@here.")
    smtpd_null_access_lookup_key = Text("<>", "Key of the null sender in access tables.", low=1)
    smtpd_reject_unlisted_recipient = Boolean("yes", "Refuse unknown recipients even where no restriction says so.")
    smtpd_reject_unlisted_sender = Boolean("no", "Refuse senders of our domains that are not known.")
    relay_recipient_maps = Maps("", "Table of all addresses of relay_domains; empty: any is accepted.")
    smtpd_expansion_filter = Raw(
        "\\t\\40!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\\\]^_`abcdefghijklmnopqrstuvwxyz{|}~",
        "Characters (C escapes) that survive in values put into replies.",
        low=1,
    )
    smtpd_dns_reply_filter = Maps("", "Table that drops or changes DNS answers that smtpd gets.")
    smtpd_sasl_auth_enable = Boolean("no", "Offer AUTH; the auth service answers for it.")
    smtpd_sasl_security_options = List(
        "noanonymous", "What mechanisms must withstand without TLS.", choices=options.CHOICES
    )
    smtpd_sasl_tls_security_options = List(
        "$smtpd_sasl_security_options", "What mechanisms must withstand within TLS.", choices=options.CHOICES
    )
    smtpd_sasl_mechanism_filter = List("", "Mechanisms that are offered, of those that auth has; empty: all.")
    smtpd_sasl_exceptions_networks = List("", "Clients that are not offered AUTH.")
    smtpd_sasl_response_limit = Integer("12288", "Longest line of an AUTH exchange.", low=512, high=1048576)
    smtpd_sasl_authenticated_header = Boolean("no", "Tell in the Received: header who has authenticated.")
    broken_sasl_auth_clients = Boolean("no", "Announce AUTH in the form of old clients too.")
    smtpd_sender_login_maps = Maps("", "Table of login names by sender address, for reject_sender_login_mismatch.")
