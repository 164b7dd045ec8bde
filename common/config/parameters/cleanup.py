"""Making a new message canonical (the cleanup program)."""

from tubepost.common.config.declare import Boolean, Choice, Integer, List, Maps, Settings, Size, Text

_CLASSES = ("envelope_sender", "envelope_recipient", "header_sender", "header_recipient")


class Cleanup(Settings):
    always_add_missing_headers = Boolean(
        "no", "Add From:, Date: and the like to mail of others too, not only of this host."
    )
    undisclosed_recipients_header = Text("", "Header added to a message without To:, Cc: or Bcc:; empty: none.")
    message_drop_headers = List("bcc, content-length, resent-bcc, return-path", "Headers taken out of every message.")
    header_from_format = Choice(
        "standard",
        "Form of an added From: header: name <address>, or address (name).",
        choices=("standard", "obsolete"),
    )
    always_bcc = Text("", "Address that gets a copy of every message.")
    sender_bcc_maps = Maps("", "Table of addresses that get a copy, by sender.")
    recipient_bcc_maps = Maps("", "Table of addresses that get a copy, by recipient.")
    canonical_maps = Maps("", "Table of replacements for addresses in headers and envelope.")
    canonical_classes = List(
        "envelope_sender, envelope_recipient, header_sender, header_recipient",
        "Addresses that canonical_maps applies to.",
        choices=_CLASSES,
    )
    sender_canonical_maps = Maps("", "As canonical_maps, for senders; asked before it.")
    sender_canonical_classes = List(
        "envelope_sender, header_sender",
        "Addresses that sender_canonical_maps applies to.",
        choices=("envelope_sender", "header_sender"),
    )
    recipient_canonical_maps = Maps("", "As canonical_maps, for recipients; asked before it.")
    recipient_canonical_classes = List(
        "envelope_recipient, header_recipient",
        "Addresses that recipient_canonical_maps applies to.",
        choices=("envelope_recipient", "header_recipient"),
    )
    masquerade_domains = List("", "Domains whose subdomains are cut off in addresses; !domain is left alone.")
    masquerade_classes = List(
        "envelope_sender, header_sender, header_recipient",
        "Addresses that masquerade_domains applies to.",
        choices=_CLASSES,
    )
    masquerade_exceptions = List("", "User names that are not masqueraded.")
    virtual_alias_expansion_limit = Integer(
        "1000", "Most recipients that one recipient may become through virtual aliases.", low=1
    )
    virtual_alias_recursion_limit = Integer("1000", "Deepest nesting of virtual aliases.", low=1)
    virtual_alias_address_length_limit = Integer(
        "1000", "Longest address that virtual aliases may produce; stops rules that grow for ever.", low=1
    )
    duplicate_filter_limit = Integer("1000", "Recipients remembered while looking for duplicates; 0: no limit.")
    enable_original_recipient = Boolean("yes", "Keep the recipient as first given, for X-Original-To and reports.")
    hopcount_limit = Integer("50", "Most Received: headers; more is taken for a loop.", low=1)
    header_size_limit = Size("102400", "Longest header; the rest is cut off.", low=1)
    header_address_token_limit = Integer(
        "10240", "Words of address headers that are rewritten; later ones stay as they are.", low=1
    )
    header_checks = Maps("", "Table asked with each header of the message.")
    mime_header_checks = Maps("$header_checks", "Table asked with each header of a MIME part.")
    nested_header_checks = Maps("$header_checks", "Table asked with each header of an attached message.")
    body_checks = Maps("", "Table asked with each line of the body.")
    body_checks_size_limit = Size("51200", "How much of each part body_checks looks at.")
    mime_nesting_limit = Integer("100", "Deepest nesting of MIME parts.", low=1)
    mime_boundary_length_limit = Integer("2048", "Most characters of a MIME boundary that are compared.", low=1)
    disable_mime_input_processing = Boolean("no", "Treat a body as plain text, whatever its headers say.")
    detect_8bit_encoding_header = Boolean(
        "yes", "Look at Content-Transfer-Encoding to find out whether a message is 8-bit."
    )
    strict_7bit_headers = Boolean("no", "Refuse 8-bit characters in headers.")
    strict_8bitmime_body = Boolean("no", "Refuse 8-bit bodies without MIME headers that say so.")
    strict_8bitmime = Boolean("no", "Turn on strict_7bit_headers and strict_8bitmime_body.")
    strict_mime_encoding_domain = Boolean("no", "Refuse encoded multipart or message parts (RFC 2045 6.4).")
    message_reject_characters = Text("", "Characters (C escapes) that make cleanup refuse a message.")
    message_strip_characters = Text("", "Characters (C escapes) that cleanup takes out of messages.")
    cleanup_replace_stray_cr_lf = Boolean("yes", "Replace a CR or LF that stands alone by a space.")
    content_filter = Text("", "transport:nexthop that all new mail goes to for filtering.")
    receive_override_options = List(
        "",
        "Parts of the processing of new mail that are left out.",
        choices=("no_unknown_recipient_checks", "no_address_mappings", "no_header_body_checks"),
    )
    internal_mail_filter_classes = List("", "System mail that content checks apply to.", choices=("bounce", "notify"))
