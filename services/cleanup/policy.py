"""What main.cf says about cleaning messages up: plain values, and questions to tables as awaitables. Pure.

session.py makes a Policy from the configuration; tests make one by hand.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

Expand = Callable[[str], Awaitable[list[str] | None]]
"""An address's entry in a table as addresses (external form, not yet rewritten); None for no entry. Raises Trouble."""

Lookup = Callable[[str], Awaitable[str | None]]
"""A table's value for a text. Raises Trouble."""

Matches = Callable[[str], Awaitable[bool]]
"""Whether a text is in a match list. Raises Trouble."""

Rewrite = Callable[[str, Sequence[str]], Awaitable[list[str]]]
"""``await rewrite("local", addresses)``: the rewrite service's standard forms, in order. Raises Trouble."""

ENVELOPE_SENDER = "envelope_sender"
ENVELOPE_RECIPIENT = "envelope_recipient"
HEADER_SENDER = "header_sender"
HEADER_RECIPIENT = "header_recipient"


class AddressMap(NamedTuple):
    """An address table; ``classes``: which of the four kinds of addresses it applies to."""

    title: str
    expand: Expand
    classes: frozenset[str]


class Check(NamedTuple):
    """A content table; ``title`` for messages (header_checks …)."""

    title: str
    lookup: Lookup


@dataclass(slots=True)
class Policy:
    """Field names are parameter names where one stands for one parameter. Absent tables are None or empty."""

    rewrite: Rewrite
    hostname: str
    drop_headers: frozenset[bytes] = frozenset({b"bcc", b"content-length", b"resent-bcc", b"return-path"})
    always_add_missing_headers: bool = False
    undisclosed_recipients_header: str = ""
    header_from_format: str = "standard"
    remote_header_rewrite_domain: str = ""
    empty_address_recipient: str = "MAILER-DAEMON"

    sender_maps: tuple[AddressMap, ...] = ()
    """For senders, in the order asked: sender_canonical_maps, canonical_maps."""
    recipient_maps: tuple[AddressMap, ...] = ()
    masquerade_domains: tuple[str, ...] = ()
    masquerade_classes: frozenset[str] = frozenset({ENVELOPE_SENDER, HEADER_SENDER, HEADER_RECIPIENT})
    masquerade_exceptions: Matches | None = None

    virtual_alias_maps: Expand | None = None
    virtual_alias_expansion_limit: int = 1000
    virtual_alias_recursion_limit: int = 1000
    virtual_alias_address_length_limit: int = 1000
    duplicate_filter_limit: int = 1000
    enable_original_recipient: bool = True

    always_bcc: str = ""
    sender_bcc_maps: Expand | None = None
    recipient_bcc_maps: Expand | None = None

    header_checks: Check | None = None
    mime_header_checks: Check | None = None
    nested_header_checks: Check | None = None
    body_checks: Check | None = None
    body_checks_size_limit: int = 51200
    reject_characters: bytes = b""
    strip_characters: bytes = b""
    replace_stray_cr: bool = True

    message_size_limit: int = 0
    hopcount_limit: int = 50
    header_size_limit: int = 102400
    header_address_token_limit: int = 10240
    mime_nesting_limit: int = 100
    mime_boundary_length_limit: int = 2048
    disable_mime_input_processing: bool = False
    detect_8bit_encoding_header: bool = True
    strict_7bit_headers: bool = False
    strict_8bitmime_body: bool = False
    strict_mime_encoding_domain: bool = False
    smtputf8_autodetect: frozenset[str] = field(default_factory=frozenset)
    """Deposit sources whose mail may turn out to need SMTPUTF8."""

    def maps_header_addresses(self, aliases: bool) -> bool:
        """Whether an address of the header that is in standard form may become another one."""
        return aliases and bool(self.sender_maps or self.recipient_maps or self.masquerade_domains)

    def reads_body(self, filters: bool) -> bool:
        """Whether the body has to be looked into at all."""
        if self.strict_7bit_headers or self.strict_8bitmime_body or self.strict_mime_encoding_domain:
            return True
        return filters and bool(
            self.body_checks
            or self.header_checks
            or self.mime_header_checks
            or self.nested_header_checks
            or self.reject_characters
            or self.strip_characters
        )
