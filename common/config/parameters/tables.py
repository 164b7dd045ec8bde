"""Lookup tables."""

from tubepost.common.config.declare import List, Maps, Settings, Text

# Every parameter of this system that may name a proxied table.
_READ = (
    "local_recipient_maps mydestination virtual_alias_maps virtual_alias_domains virtual_mailbox_maps "
    "virtual_mailbox_domains relay_recipient_maps relay_domains canonical_maps sender_canonical_maps "
    "recipient_canonical_maps relocated_maps transport_maps mynetworks sender_bcc_maps recipient_bcc_maps "
    "smtp_generic_maps lmtp_generic_maps alias_maps smtpd_client_restrictions smtpd_helo_restrictions "
    "smtpd_sender_restrictions smtpd_relay_restrictions smtpd_recipient_restrictions "
    "address_verify_sender_dependent_default_transport_maps address_verify_sender_dependent_relayhost_maps "
    "address_verify_transport_maps fallback_transport_maps mailbox_command_maps mailbox_transport_maps rbl_reply_maps "
    "sender_dependent_default_transport_maps sender_dependent_relayhost_maps smtp_discard_ehlo_keyword_address_maps "
    "lmtp_discard_lhlo_keyword_address_maps smtpd_discard_ehlo_keyword_address_maps virtual_gid_maps virtual_uid_maps "
    "smtpd_reject_footer_maps body_checks header_checks mime_header_checks nested_header_checks smtp_body_checks "
    "smtp_header_checks smtp_mime_header_checks smtp_nested_header_checks lmtp_body_checks lmtp_header_checks "
    "lmtp_mime_header_checks lmtp_nested_header_checks default_delivery_status_filter smtp_delivery_status_filter "
    "lmtp_delivery_status_filter local_delivery_status_filter virtual_delivery_status_filter "
    "pipe_delivery_status_filter smtp_reply_filter lmtp_reply_filter smtp_dns_reply_filter lmtp_dns_reply_filter "
    "smtpd_command_filter smtpd_dns_reply_filter"
)


class Tables(Settings):
    default_database_type = Text(
        "hash", "Table type where none is written, for postmap, postalias and newaliases.", low=1
    )
    alias_database = Maps("hash:$config_directory/aliases", "Alias tables that newaliases builds.")
    alias_maps = Maps("hash:$config_directory/aliases", "Alias tables that local delivery uses.")
    proxy_read_maps = List(
        " ".join(f"${name}" for name in _READ.split()), "Tables that proxymap may read, for programs that ask it."
    )
    proxy_write_maps = List("$address_verify_map", "Tables that proxywrite may change.")
