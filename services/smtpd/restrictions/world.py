"""What the checks may ask of the outside. The session provides it; tests provide fakes."""

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from tubepost.common.wire.rewrite import Resolved
from tubepost.common.wire.verify import Verdict
from tubepost.common.net.certificates import PeerCertificate
from tubepost.common.tables import Maps
from tubepost.common.tables.match import AddressList, HostList, LocalDomains, StringList

if TYPE_CHECKING:
    from tubepost.services.smtpd.restrictions.language import Step


class NameUnknown(Exception):
    """DNS knows: there is no such name or record."""


class NameUnsure(Exception):
    """DNS does not answer now. The text says why."""


class Resolver(Protocol):
    """DNS. All raise NameUnknown or NameUnsure; results are not empty."""

    async def addresses(self, name: str) -> tuple[str, ...]:
        """A and AAAA."""

    async def ipv4(self, name: str) -> tuple[str, ...]:
        """A only: what DNS lists answer with."""

    async def texts(self, name: str) -> tuple[str, ...]:
        """TXT."""

    async def exchangers(self, name: str) -> tuple[tuple[int, str], ...]:
        """MX as (preference, host), best first; the null MX (RFC 7505) has the host "" ."""

    async def servers(self, name: str) -> tuple[str, ...]:
        """NS."""

    async def reverse(self, address: str) -> tuple[str, ...]:
        """PTR."""


class Rules(Protocol):
    """The parameters that checks read; ``Config`` has them all."""

    access_map_defer_code: Any
    access_map_reject_code: Any
    address_verify_poll_count: Any
    address_verify_poll_delay: Any
    allow_untrusted_routing: Any
    default_rbl_reply: Any
    defer_code: Any
    double_bounce_sender: Any
    invalid_hostname_reject_code: Any
    mail_version: Any
    maps_rbl_reject_code: Any
    multi_recipient_bounce_reject_code: Any
    myhostname: Any
    non_fqdn_reject_code: Any
    plaintext_reject_code: Any
    recipient_delimiter: Any
    reject_code: Any
    relay_domains_reject_code: Any
    show_user_unknown_table_name: Any
    smtpd_delay_reject: Any
    smtpd_sasl_auth_enable: Any
    smtpd_null_access_lookup_key: Any
    stress: Any
    smtpd_reject_unlisted_recipient: Any
    smtpd_reject_unlisted_sender: Any
    smtpd_relay_before_recipient_restrictions: Any
    soft_bounce: Any
    unknown_address_reject_code: Any
    unknown_address_tempfail_action: Any
    unknown_client_reject_code: Any
    unknown_helo_hostname_tempfail_action: Any
    unknown_hostname_reject_code: Any
    unknown_local_recipient_reject_code: Any
    unknown_relay_recipient_reject_code: Any
    unknown_virtual_alias_reject_code: Any
    unknown_virtual_mailbox_reject_code: Any
    unverified_recipient_defer_code: Any
    unverified_recipient_reject_code: Any
    unverified_recipient_reject_reason: Any
    unverified_recipient_tempfail_action: Any
    unverified_sender_defer_code: Any
    unverified_sender_reject_code: Any
    unverified_sender_reject_reason: Any
    unverified_sender_tempfail_action: Any


class World(Protocol):
    """One a process."""

    rules: Rules
    resolver: Resolver
    mynetworks: HostList
    own_addresses: frozenset[str]
    """Of this host's interfaces in use, and of proxy_interfaces."""
    access_parents: bool
    """smtpd_access_maps is in parent_domain_matches_subdomains."""
    logged_permits: StringList
    mx_backup_networks: AddressList
    local: LocalDomains
    local_recipients: Maps
    virtual_mailboxes: Maps
    relay_recipients: Maps
    virtual_aliases: Maps
    canonical: Maps
    recipient_canonical: Maps
    sender_canonical: Maps
    rbl_replies: Maps
    sender_logins: Maps
    """smtpd_sender_login_maps."""
    check_unlisted: bool
    """False with receive_override_options=no_unknown_recipient_checks."""

    def censor(self, value: str | None) -> str | None:
        """smtpd_expansion_filter: what a client said, safe to put into a reply."""

    async def knows_certificate(self, certificate: PeerCertificate) -> bool:
        """relay_clientcerts has its fingerprint, or its key's. Raises TableError."""

    def steps(self, text: str, kind: str) -> "tuple[Step, ...]":
        """A restriction list's text compiled, remembered."""

    def restriction_class(self, name: str) -> str | None:
        """The list behind a name in smtpd_restriction_classes."""

    def table(self, spec: str) -> Maps:
        """The access table of this name, opened once."""

    def known_route(self, sender: str, address: str) -> Resolved | None:
        """``resolve`` answered from memory, or None."""

    def resolve(self, sender: str, address: str) -> Awaitable[Resolved]:
        """Where mail goes; error ``table_failure`` when that cannot be told now, whatever the reason."""

    async def verify(self, address: str) -> Verdict | None:
        """What the verify service knows; None when it cannot be asked."""

    async def ask_policy(self, server: str, attributes: Mapping[str, str]) -> tuple[str, bool]:
        """(action, True) as a policy service answers; (its default action, False) when it does not."""

    async def sleep(self, seconds: float) -> None: ...

    def warn(self, text: str) -> None: ...

    def info(self, text: str) -> None: ...
