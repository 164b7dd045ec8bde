"""From main.cf to a Policy: opens the tables that the parameters name, and asks them for the pure parts.

Not pure: tables read files. A table's trouble becomes ``Trouble``, on which the message is not accepted for now.
"""

from collections.abc import Iterable

from tubepost.common.mail import addresslist
from tubepost.common.config import Config
from tubepost.common.config.host import listening_interfaces
from tubepost.common.tables import Maps, TableEnvironment, TableError
from tubepost.common.tables import address as table_address
from tubepost.common.tables.match import LocalDomains, StringList

from tubepost.services.cleanup.policy import AddressMap, Check, Expand, Matches, Policy, Rewrite
from tubepost.services.cleanup.protocol import Trouble

# smtputf8_autodetect_classes to the sources of cleanup/1.
_SOURCES = {
    "sendmail": "pickup",
    "smtpd": "smtpd",
    "forward": "local",
    "bounce": "bounce",
    "notify": "notify",
    "verify": "verify",
}


class Lookups:
    """The tables of one process, open."""

    def __init__(self, config: Config, environment: TableEnvironment) -> None:
        self._config = config
        self._environment = environment
        self._local = LocalDomains(
            config.mydestination,
            environment,
            addresses=[*(str(interface.ip) for interface in listening_interfaces(config)), *config.proxy_interfaces],
            myorigin=config.myorigin,
        )

    def policy(self, rewrite: Rewrite) -> Policy:
        """Raises ConfigError for a bad value."""
        config = self._config
        canonical = self._map("canonical_maps", config.canonical_maps, config.canonical_classes)
        senders = self._map("sender_canonical_maps", config.sender_canonical_maps, config.sender_canonical_classes)
        recipients = self._map(
            "recipient_canonical_maps", config.recipient_canonical_maps, config.recipient_canonical_classes
        )
        exceptions = config.masquerade_exceptions
        return Policy(
            rewrite=rewrite,
            hostname=config.myhostname,
            drop_headers=frozenset(name.lower().encode() for name in config.message_drop_headers),
            always_add_missing_headers=config.always_add_missing_headers,
            undisclosed_recipients_header=config.undisclosed_recipients_header,
            header_from_format=config.header_from_format,
            remote_header_rewrite_domain=config.remote_header_rewrite_domain,
            empty_address_recipient=config.empty_address_recipient,
            sender_maps=senders + canonical,
            recipient_maps=recipients + canonical,
            masquerade_domains=config.masquerade_domains,
            masquerade_classes=frozenset(config.masquerade_classes),
            masquerade_exceptions=self._matches("masquerade_exceptions", exceptions) if exceptions else None,
            virtual_alias_maps=self._expand("virtual_alias_maps", config.virtual_alias_maps, "virtual"),
            virtual_alias_expansion_limit=config.virtual_alias_expansion_limit,
            virtual_alias_recursion_limit=config.virtual_alias_recursion_limit,
            virtual_alias_address_length_limit=config.virtual_alias_address_length_limit,
            duplicate_filter_limit=config.duplicate_filter_limit,
            enable_original_recipient=config.enable_original_recipient,
            always_bcc=config.always_bcc,
            sender_bcc_maps=self._expand("sender_bcc_maps", config.sender_bcc_maps, ""),
            recipient_bcc_maps=self._expand("recipient_bcc_maps", config.recipient_bcc_maps, ""),
            header_checks=self._check("header_checks", config.header_checks),
            mime_header_checks=self._check("mime_header_checks", config.mime_header_checks),
            nested_header_checks=self._check("nested_header_checks", config.nested_header_checks),
            body_checks=self._check("body_checks", config.body_checks),
            body_checks_size_limit=config.body_checks_size_limit,
            reject_characters=_characters(config.message_reject_characters),
            strip_characters=_characters(config.message_strip_characters),
            replace_stray_cr=config.cleanup_replace_stray_cr_lf,
            message_size_limit=config.message_size_limit,
            hopcount_limit=config.hopcount_limit,
            header_size_limit=config.header_size_limit,
            header_address_token_limit=config.header_address_token_limit,
            mime_nesting_limit=config.mime_nesting_limit,
            mime_boundary_length_limit=config.mime_boundary_length_limit,
            disable_mime_input_processing=config.disable_mime_input_processing,
            detect_8bit_encoding_header=config.detect_8bit_encoding_header,
            strict_7bit_headers=config.strict_7bit_headers or config.strict_8bitmime,
            strict_8bitmime_body=config.strict_8bitmime_body or config.strict_8bitmime,
            strict_mime_encoding_domain=config.strict_mime_encoding_domain,
            smtputf8_autodetect=self._autodetect(),
        )

    def _autodetect(self) -> frozenset[str]:
        classes = self._config.smtputf8_autodetect_classes if self._config.smtputf8_enable else ()
        if "all" in classes:
            return frozenset((*_SOURCES.values(), "qmqpd", "requeue"))
        return frozenset(_SOURCES[name] for name in classes)

    def _map(self, title: str, specs: tuple[str, ...], classes: Iterable[str]) -> tuple[AddressMap, ...]:
        expand = self._expand(title, specs, "canonical")
        return (AddressMap(title, expand, frozenset(classes)),) if expand else ()

    def _expand(self, title: str, specs: tuple[str, ...], feature: str) -> Expand | None:
        """``feature``: under which name propagate_unmatched_extensions speaks of this table; empty: not at all."""
        if not specs:
            return None
        maps = Maps(specs, self._environment, title=title)
        delimiter = self._config.recipient_delimiter
        propagate = feature in self._config.propagate_unmatched_extensions

        async def expand(address: str) -> list[str] | None:
            try:
                found = await table_address.find(maps, address, delimiter=delimiter, local=self._local)
            except TableError as error:
                raise Trouble(f"{title} map lookup problem for {address}: {error}") from error
            if found is None:
                return None
            return table_address.expand(address, found, addresslist.extract_addresses, propagate)

        return expand

    def _check(self, title: str, specs: tuple[str, ...]) -> Check | None:
        if not specs:
            return None
        maps = Maps(specs, self._environment, title=title)

        async def lookup(text: str) -> str | None:
            try:
                if maps.immediate:
                    return maps.find(text)
                # Other programs are sent valid Unicode only.
                return await maps.lookup(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
            except TableError as error:
                raise Trouble(f"{title} map lookup problem: {error}") from error

        return Check(title, lookup)

    def _matches(self, title: str, patterns: tuple[str, ...]) -> Matches:
        names = StringList(title, patterns, self._environment)

        async def matches(text: str) -> bool:
            try:
                return await names.match(text)
            except TableError as error:
                raise Trouble(f"{title} lookup problem: {error}") from error

        return matches


def _characters(text: str) -> bytes:
    """Characters with C escapes (``\\\\0``, ``\\\\200``), as message_reject_characters takes them, as bytes."""
    return text.encode("utf-8").decode("unicode_escape").encode("latin-1", "ignore")
