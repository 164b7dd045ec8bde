"""Reports to senders and to the postmaster (the bounce program)."""

from tubepost.common.config.declare import Boolean, List, Settings, Size, Text


class Bounce(Settings):
    notify_classes = List(
        "resource, software",
        "Troubles that are reported to the postmaster.",
        choices=("bounce", "2bounce", "data", "delay", "policy", "protocol", "resource", "software"),
    )
    bounce_notice_recipient = Text("postmaster", "Who gets copies of bounces (class bounce).", low=1)
    double_bounce_notice_recipient = Text(
        "postmaster",
        "Who gets bounces that cannot be returned (class 2bounce).",
        low=1,
        name="2bounce_notice_recipient",
    )
    delay_notice_recipient = Text("postmaster", "Who gets copies of delay warnings (class delay).", low=1)
    error_notice_recipient = Text("postmaster", "Who gets reports of the other classes.", low=1)
    bounce_size_limit = Size("50000", "How much of a message is returned with a bounce.", low=1)
    bounce_template_file = Text("", "File with the texts of bounces; empty: the built-in ones.")
    double_bounce_sender = Text("double-bounce", "Sender of mail that must not be returned when it fails.", low=1)
    enable_threaded_bounces = Boolean("no", "Give bounces References: and In-Reply-To: headers of the message.")
    default_verp_delimiters = Text("+=", "The two characters of a VERP sender address.", low=2, high=2)
    verp_delimiter_filter = Text("-=+", "Characters that may be VERP delimiters.", low=1)
    disable_verp_bounces = Boolean("no", "Send one bounce a message for VERP mail, not one a recipient.")
