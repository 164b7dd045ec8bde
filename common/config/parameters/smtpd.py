"""The SMTP server (the smtpd program): sessions, commands, limits."""

from tubepost.common.config.declare import Boolean, Choice, Integer, List, Maps, Raw, Restrictions, Settings, Text, Time


class Smtpd(Settings):
    smtpd_banner = Text("$myhostname ESMTP $mail_name", "Text of the greeting; must begin with the host's name.", low=1)
    smtpd_timeout = Time("${stress?{10}:{300}}s", "Longest wait for a client's command or data.", low=1)
    smtpd_per_request_deadline = Boolean(
        "${stress?{yes}:{no}}", "Make smtpd_timeout the time for a whole command, not for one read."
    )
    smtpd_min_data_rate = Integer("500", "Bytes a second that a client must send while deadlines are on.", low=1)
    smtpd_helo_required = Boolean("no", "Refuse MAIL before HELO or EHLO.")
    disable_vrfy_command = Boolean("no", "Refuse VRFY.")
    strict_rfc821_envelopes = Boolean("no", "Accept MAIL and RCPT addresses only within <>, without comments.")
    smtpd_discard_ehlo_keywords = List("", "EHLO keywords that are not announced.")
    smtpd_discard_ehlo_keyword_address_maps = Maps("", "Table of such keywords by client address.")
    smtpd_noop_commands = List("", "Commands that are answered with 250 and nothing else.")
    smtpd_forbidden_commands = List(
        "CONNECT GET POST regexp:{{/^[^A-Z]/ Bogus}}", "Commands, or tables of them, that end the session."
    )
    smtpd_command_filter = Maps("", "Table that replaces a client's command line before it is read.")
    smtpd_forbid_bare_newline = Choice(
        "normalize",
        "Line ends without CR: normalize takes them for line ends except around a final dot, yes and reject refuse, "
        "note logs, no trusts.",
        choices=("normalize", "yes", "no", "note", "reject"),
    )
    smtpd_forbid_bare_newline_exclusions = List(
        "$mynetworks", "Clients that smtpd_forbid_bare_newline does not apply to."
    )
    smtpd_forbid_bare_newline_reject_code = Integer(
        "550", "Reply code when a bare newline is refused.", low=500, high=599
    )
    smtpd_forbid_unauth_pipelining = Boolean("yes", "End the session of a client that sends commands before it may.")
    smtpd_recipient_limit = Integer("1000", "Most recipients of one message.", low=1)
    smtpd_recipient_overshoot_limit = Integer(
        "1000", "RCPT commands beyond that limit that do not yet count as errors.", low=1
    )
    smtpd_soft_error_limit = Integer("10", "Errors after which every reply is delayed.", low=1)
    smtpd_hard_error_limit = Integer("${stress?{1}:{20}}", "Errors after which the session ends.", low=1)
    smtpd_junk_command_limit = Integer(
        "${stress?{1}:{100}}", "NOOP, VRFY, ETRN and RSET commands that do not yet count as errors.", low=1
    )
    smtpd_error_sleep_time = Time("${stress?{0}:{1}}s", "How long a reply is delayed after errors.")
    smtpd_history_flush_threshold = Integer("100", "Lines of a session kept for a report to the postmaster.", low=1)
    smtpd_peername_lookup = Boolean("yes", "Look up the client's host name.")
    smtpd_client_port_logging = Boolean("no", "Log the client's port too.")
    smtpd_client_connection_count_limit = Integer("50", "Most connections at one time from one client; 0: no limit.")
    smtpd_client_connection_rate_limit = Integer(
        "0", "Most connections from one client in anvil_rate_time_unit; 0: no limit."
    )
    smtpd_client_message_rate_limit = Integer(
        "0", "Most messages from one client in anvil_rate_time_unit; 0: no limit."
    )
    smtpd_client_recipient_rate_limit = Integer(
        "0", "Most recipients from one client in anvil_rate_time_unit; 0: no limit."
    )
    smtpd_client_auth_rate_limit = Integer(
        "0", "Most AUTH commands from one client in anvil_rate_time_unit; 0: no limit."
    )
    smtpd_client_new_tls_session_rate_limit = Integer(
        "0", "Most TLS handshakes from one client in anvil_rate_time_unit; 0: no limit."
    )
    smtpd_client_ipv4_prefix_length = Integer(
        "32", "How much of an IPv4 address makes one client for these limits.", low=1, high=32
    )
    smtpd_client_ipv6_prefix_length = Integer(
        "84", "How much of an IPv6 address makes one client for these limits.", low=1, high=128
    )
    smtpd_client_event_limit_exceptions = List("$mynetworks", "Clients that these limits do not apply to.")
    smtpd_authorized_xclient_hosts = List("", "Clients that may use XCLIENT.")
    smtpd_authorized_xforward_hosts = List("", "Clients that may use XFORWARD.")
    smtpd_authorized_verp_clients = List("", "Clients that may ask for VERP.")
    smtpd_reject_footer = Raw("", "Text added to every refusal; $client_name and the like are filled in.")
    smtpd_reject_footer_maps = Maps("", "Table of such texts by reply.")
    smtpd_log_access_permit_actions = List("", "Restrictions whose permission is logged.")
    smtpd_restriction_classes = List("", "Names that stand for a list of restrictions, each set as a parameter.")
    smtpd_delay_reject = Boolean("yes", "Wait until RCPT or ETRN before a client is refused.")
    smtpd_relay_before_recipient_restrictions = Boolean(
        "yes", "Check smtpd_relay_restrictions before smtpd_recipient_restrictions."
    )
    smtpd_client_restrictions = Restrictions("", "Checked when a client connects.")
    smtpd_helo_restrictions = Restrictions("", "Checked at HELO and EHLO.")
    smtpd_sender_restrictions = Restrictions("", "Checked at MAIL.")
    smtpd_relay_restrictions = Restrictions(
        "permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination", "Checked at RCPT: who may relay."
    )
    smtpd_recipient_restrictions = Restrictions("", "Checked at RCPT: what is spam.")
    smtpd_data_restrictions = Restrictions("", "Checked at DATA and BDAT.")
    smtpd_end_of_data_restrictions = Restrictions("", "Checked when a message is complete.")
    smtpd_etrn_restrictions = Restrictions("", "Checked at ETRN.")
