"""Sending mail to other servers (the smtp program, also as relay; for LMTP see lmtp.py)."""

from tubepost.common.config.declare import Boolean, Choice, Integer, List, Maps, Text, Time
from tubepost.common.config.parameters.smtp_tls import SmtpTls


class Smtp(SmtpTls):
    smtp_helo_name = Text("$myhostname", "Name sent with EHLO.", low=1)
    smtp_tcp_port = Text("smtp", "Port of servers: a number or a name.", low=1)
    known_tcp_ports = List(
        "lmtp=24, smtp=25, smtps=submissions=465, submission=587", "Names of ports, so that /etc/services is not read."
    )
    smtp_always_send_ehlo = Boolean("yes", "Send EHLO even when the greeting does not mention ESMTP.")
    smtp_never_send_ehlo = Boolean("no", "Never send EHLO.")
    smtp_host_lookup = List("dns", "How hosts are found: dns, native.", choices=("dns", "native"))
    smtp_address_preference = Choice("any", "Address family tried first.", choices=("any", "ipv4", "ipv6"))
    smtp_balance_inet_protocols = Boolean("yes", "Let no address family use up all of smtp_mx_address_limit.")
    smtp_randomize_addresses = Boolean("yes", "Shuffle hosts of equal preference.")
    smtp_mx_address_limit = Integer("5", "Most addresses tried in one delivery; 0: no limit.")
    smtp_mx_session_limit = Integer("2", "Most sessions in one delivery; 0: no limit.")
    smtp_defer_if_no_mx_address_found = Boolean("no", "Defer when no MX host has an address, instead of bouncing.")
    ignore_mx_lookup_error = Boolean("no", "Use the address of the domain when the MX lookup fails.")
    best_mx_transport = Text("", "Transport for mail whose best MX host is this one; empty: that is a loop.")
    smtp_skip_5xx_greeting = Boolean("yes", "Try the next host when a server greets with 5xx.")
    smtp_skip_quit_response = Boolean("yes", "Do not wait for the reply to QUIT.")
    smtp_fallback_relay = List("", "Hosts for mail that cannot be delivered to its destination now.")
    smtp_bind_address = Text("", "IPv4 address that connections come from.")
    smtp_bind_address6 = Text("", "IPv6 address that connections come from.")
    smtp_bind_address_enforce = Boolean("no", "Defer mail when the address cannot be used.")
    smtp_connect_timeout = Time("30s", "Longest wait for a connection; 0: the system's.")
    smtp_helo_timeout = Time("300s", "Longest wait for the greeting, and for the reply to EHLO.", low=1)
    smtp_mail_timeout = Time("300s", "Longest wait for the reply to MAIL.", low=1)
    smtp_rcpt_timeout = Time("300s", "Longest wait for the reply to RCPT.", low=1)
    smtp_data_init_timeout = Time("120s", "Longest wait for the reply to DATA.", low=1)
    smtp_data_xfer_timeout = Time("180s", "Longest wait while content is sent.", low=1)
    smtp_data_done_timeout = Time("600s", "Longest wait for the reply to the final dot.", low=1)
    smtp_rset_timeout = Time("20s", "Longest wait for the reply to RSET.", low=1)
    smtp_quit_timeout = Time("300s", "Longest wait for the reply to QUIT.", low=1)
    smtp_xforward_timeout = Time("300s", "Longest wait for the reply to XFORWARD.", low=1)
    smtp_send_xforward_command = Boolean("no", "Send XFORWARD to a server that announces it.")
    smtp_per_request_deadline = Boolean("no", "Make the timeouts the time for a whole command, not for one read.")
    smtp_min_data_rate = Integer("500", "Bytes a second that a server must take while deadlines are on.", low=1)
    smtp_connection_cache_on_demand = Boolean("yes", "Keep a connection open when more mail for it waits.")
    smtp_connection_cache_destinations = List("", "Destinations whose connections are always kept open.")
    smtp_connection_cache_time_limit = Time("2s", "How long an unused connection is kept.", low=1)
    smtp_connection_reuse_time_limit = Time("300s", "How long one connection is used.", low=1)
    smtp_connection_reuse_count_limit = Integer("0", "Most deliveries over one connection; 0: no limit.")
    smtp_line_length_limit = Integer("998", "Longest line sent; longer ones are broken; 0: none is (RFC 5322 2.1.1).")
    smtp_quote_rfc821_envelope = Boolean("yes", "Quote addresses in MAIL and RCPT as RFC 5321 requires.")
    disable_mime_output_conversion = Boolean("no", "Never convert 8-bit content for a server that takes 7-bit only.")
    smtp_discard_ehlo_keywords = List("", "EHLO keywords of a server that are ignored.")
    smtp_discard_ehlo_keyword_address_maps = Maps("", "Table of such keywords by server address.")
    smtp_generic_maps = Maps("", "Table of replacements for addresses in mail that leaves this host.")
    smtp_header_checks = Maps("", "Table asked with each header of mail that leaves.")
    smtp_mime_header_checks = Maps("", "Table asked with each header of a MIME part.")
    smtp_nested_header_checks = Maps("", "Table asked with each header of an attached message.")
    smtp_body_checks = Maps("", "Table asked with each line of the body.")
    smtp_reply_filter = Maps("", "Table that replaces a server's reply lines.")
    smtp_dns_reply_filter = Maps("", "Table that drops or changes DNS answers.")
    smtp_delivery_status_filter = Maps(
        "$default_delivery_status_filter", "Table that changes the status of deliveries."
    )
    smtp_address_verify_target = Choice("rcpt", "Command after which a probe ends.", choices=("rcpt", "data"))
    smtp_pix_workarounds = List(
        "disable_esmtp,delay_dotcrlf",
        "What is done about servers behind a Cisco PIX firewall.",
        choices=("disable_esmtp", "delay_dotcrlf"),
    )
    smtp_pix_workaround_maps = Maps("", "Table of such workarounds by server address.")
    smtp_pix_workaround_threshold_time = Time("500s", "Age of a message from which they are used.", low=1)
    smtp_pix_workaround_delay_time = Time("10s", "How long delay_dotcrlf waits before the final dot.", low=1)
    dns_ncache_ttl_fix_enable = Boolean("no", "Take the time to keep a negative answer from the SOA record.")
