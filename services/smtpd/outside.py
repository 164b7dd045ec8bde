"""The outside as the checks see it: tables, DNS, and the rewrite, verify and policy services. One a process.

``restrictions.world.World`` made real. What is asked of other programs is cached where their protocol allows it.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Mapping
from typing import cast

from tubepost.common.wire.rewrite import Resolved
from tubepost.common.wire.verify import Query, Verdict
from tubepost.common.system import log
from tubepost.common.bus.errors import BusError
from tubepost.common.bus.rewriting import RewriteClient
from tubepost.common.config import Config, ConfigError
from tubepost.common.config.host import listening_interfaces
from tubepost.common.net.certificates import PeerCertificate
from tubepost.common.tables import Maps, TableEnvironment
from tubepost.common.tables.match import (
    AddressList,
    HostList,
    LocalDomains,
    StringList,
    matches_subdomains,
)
from tubepost.common.skeleton.process import Process
from tubepost.common.skeleton.resolver import make_resolver

from tubepost.services.smtpd.policy import Manner, PolicyClient, parse_server
from tubepost.services.smtpd.resolver import DnsResolver
from tubepost.services.smtpd.restrictions.engine import Lists
from tubepost.services.smtpd.restrictions.evaluation import Client
from tubepost.services.smtpd.restrictions.language import Step, compile_list, guards_relay
from tubepost.services.smtpd.restrictions.words import (
    CLIENT,
    DATA,
    END_OF_DATA,
    ETRN,
    HELO,
    RECIPIENT,
    SENDER,
)
from tubepost.services.smtpd.restrictions.world import Resolver, Rules

# Lists compiled from table values and classes; a table that makes a new one for each key must not fill memory.
_COMPILED_LIMIT = 1000
_NAMES_LIMIT = 4096
_NAMES_LIFETIME = 120.0
_VERIFY_DEADLINE = 30.0


class Outside:
    """See ``restrictions.world.World`` for what each attribute means."""

    def __init__(self, process: Process, environment: TableEnvironment) -> None:
        config = process.config
        self._process = process
        self._environment = environment
        self.rules = cast("Rules", config)
        self._dns = DnsResolver(
            make_resolver(config, environment, config.smtpd_dns_reply_filter, "smtpd_dns_reply_filter"),
            disabled=config.disable_dns_lookups,
        )
        self.resolver: Resolver = self._dns
        self._rewrite = RewriteClient(
            process.client("rewrite"),
            by_sender=bool(config.sender_dependent_relayhost_maps or config.sender_dependent_default_transport_maps),
        )
        self._tables: dict[str, Maps] = {}
        self._compiled: dict[tuple[str, str], tuple[Step, ...]] = {}
        self._policies: dict[str, PolicyClient] = {}
        self._names: dict[str, tuple[float, tuple[str, str, str, str]]] = {}
        self._config = config
        allowed = config.smtpd_expansion_filter.encode("latin-1", "replace").decode("unicode_escape")
        self._unsafe = re.compile(f"[^{re.escape(allowed)}]")
        self._open_tables(config, environment)
        self.lists = self._compile(config)

    def _open_tables(self, config: Config, environment: TableEnvironment) -> None:
        def subdomains(parameter: str) -> bool:
            return matches_subdomains(config.parent_domain_matches_subdomains, parameter, environment)

        def hosts(parameter: str) -> HostList:
            return HostList(parameter, getattr(config, parameter), environment, parents=subdomains(parameter))

        def maps(parameter: str) -> Maps:
            return Maps(getattr(config, parameter), environment, title=parameter)

        self.mynetworks = hosts("mynetworks")
        self.limit_exceptions = hosts("smtpd_client_event_limit_exceptions")
        self.xclient_hosts = hosts("smtpd_authorized_xclient_hosts")
        self.xforward_hosts = hosts("smtpd_authorized_xforward_hosts")
        self.verp_clients = hosts("smtpd_authorized_verp_clients")
        self.bare_newline_exclusions = hosts("smtpd_forbid_bare_newline_exclusions")
        self.access_parents = subdomains("smtpd_access_maps")
        self.logged_permits = StringList(
            "smtpd_log_access_permit_actions", config.smtpd_log_access_permit_actions, environment
        )
        self.mx_backup_networks = AddressList(
            "permit_mx_backup_networks", config.permit_mx_backup_networks, environment
        )
        addresses = [str(interface.ip) for interface in listening_interfaces(config)]
        addresses += [address.strip("[]") for address in config.proxy_interfaces]
        self.own_addresses = frozenset(addresses)
        self.local = LocalDomains(config.mydestination, environment, addresses=addresses, myorigin=config.myorigin)
        self.local_recipients = maps("local_recipient_maps")
        self.virtual_mailboxes = maps("virtual_mailbox_maps")
        self.relay_recipients = maps("relay_recipient_maps")
        self.virtual_aliases = maps("virtual_alias_maps")
        self.canonical = maps("canonical_maps")
        self.recipient_canonical = maps("recipient_canonical_maps")
        self.sender_canonical = maps("sender_canonical_maps")
        self.rbl_replies = maps("rbl_reply_maps")
        self.ehlo_discard = maps("smtpd_discard_ehlo_keyword_address_maps")
        self.footers = maps("smtpd_reject_footer_maps")
        self.noop_commands = StringList("smtpd_noop_commands", config.smtpd_noop_commands, environment)
        self.forbidden_commands = StringList("smtpd_forbidden_commands", config.smtpd_forbidden_commands, environment)
        self.command_filter = maps("smtpd_command_filter")
        self.sender_logins = maps("smtpd_sender_login_maps")
        self.client_certificates = maps("relay_clientcerts")
        self.sasl_exceptions = hosts("smtpd_sasl_exceptions_networks")
        self.sasl_filter = StringList("smtpd_sasl_mechanism_filter", config.smtpd_sasl_mechanism_filter, environment)
        self.check_unlisted = "no_unknown_recipient_checks" not in config.receive_override_options

    def _compile(self, config: Config) -> Lists:
        relay, recipient = config.smtpd_relay_restrictions, config.smtpd_recipient_restrictions
        if not any(guards_relay(text, self.restriction_class) for text in (relay, recipient)):
            raise ConfigError(
                "specify at least one of reject_unauth_destination, defer_unauth_destination, reject, defer, "
                "defer_if_permit here or in smtpd_recipient_restrictions: without it anyone could relay",
                name="smtpd_relay_restrictions",
            )
        return Lists(
            client=compile_list(config.smtpd_client_restrictions, CLIENT),
            helo=compile_list(config.smtpd_helo_restrictions, HELO),
            sender=compile_list(config.smtpd_sender_restrictions, SENDER),
            relay=compile_list(relay, RECIPIENT),
            recipient=compile_list(recipient, RECIPIENT),
            data=compile_list(config.smtpd_data_restrictions, DATA),
            end_of_data=compile_list(config.smtpd_end_of_data_restrictions, END_OF_DATA),
            etrn=compile_list(config.smtpd_etrn_restrictions, ETRN),
        )

    def censor(self, value: str | None) -> str | None:
        """See World."""
        return None if value is None else self._unsafe.sub("_", value)

    def take_config(self, config: Config) -> None:
        """The same configuration under another ``stress``."""
        self._config = config
        self.rules = cast("Rules", config)

    # What the checks ask

    def steps(self, text: str, kind: str) -> tuple[Step, ...]:
        key = (text, kind)
        found = self._compiled.get(key)
        if found is None:
            if len(self._compiled) >= _COMPILED_LIMIT:
                self._compiled.clear()
            found = self._compiled[key] = compile_list(text, kind)
        return found

    def restriction_class(self, name: str) -> str | None:
        if name not in self._config.smtpd_restriction_classes:
            return None
        return self._config.raw(name) or ""

    def table(self, spec: str) -> Maps:
        found = self._tables.get(spec)
        if found is None:
            found = self._tables[spec] = Maps([spec], self._environment, title="access table")
        return found

    def known_route(self, sender: str, address: str) -> Resolved | None:
        return self._rewrite.known_route(sender, address)

    def resolve(self, sender: str, address: str) -> Awaitable[Resolved]:
        return self._resolve(sender, address)

    async def _resolve(self, sender: str, address: str) -> Resolved:
        try:
            return await self._rewrite.resolve(sender, address)
        except BusError as error:
            log.warning(f"cannot resolve {address}: {error}")
            return Resolved(transport="", nexthop="", recipient=address, address_class="default", error="table_failure")

    async def verify(self, address: str) -> Verdict | None:
        client = self._process.client(self._config.address_verify_service_name)
        try:
            return await client.call(Query(address=address), Verdict, deadline=_VERIFY_DEADLINE)
        except BusError as error:
            log.warning(f"{self._config.address_verify_service_name} service failure: {error}")
            return None

    async def ask_policy(self, server: str, attributes: Mapping[str, str]) -> tuple[str, bool]:
        client = self._policies.get(server)
        if client is None:
            config = self._config
            manner = Manner(
                default_action=config.smtpd_policy_service_default_action,
                timeout=config.smtpd_policy_service_timeout,
                max_idle=config.smtpd_policy_service_max_idle,
                max_ttl=config.smtpd_policy_service_max_ttl,
                request_limit=config.smtpd_policy_service_request_limit,
                try_limit=config.smtpd_policy_service_try_limit,
                retry_delay=config.smtpd_policy_service_retry_delay,
                policy_context=config.smtpd_policy_service_policy_context,
            )
            try:
                client = PolicyClient(*parse_server(server, manner))
            except ValueError as error:
                log.warning(f"check_policy_service {server}: {error}")
                return manner.default_action, False
            self._policies[server] = client
        action = await client.ask(attributes)
        return (client.manner.default_action, False) if action is None else (action, True)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def warn(self, text: str) -> None:
        log.warning(text)

    def info(self, text: str) -> None:
        log.info(text)

    # What the session asks

    async def knows_certificate(self, certificate: PeerCertificate) -> bool:
        """relay_clientcerts. Raises TableError."""
        for fingerprint in (certificate.fingerprint, certificate.public_key_fingerprint):
            if fingerprint and await self.client_certificates.lookup(fingerprint) is not None:
                return True
        return False

    def knows_client(self, client: Client) -> bool:
        """Name the client, if its name was asked for not long ago."""
        known = self._names.get(client.address)
        if known is None or known[0] < time.monotonic():
            return False
        client.name, client.reverse_name, client.name_status, client.reverse_status = known[1]
        return True

    async def name_client(self, client: Client) -> None:
        """The name of the client's address, believed when it leads back there (smtpd_peername_lookup)."""
        found = await self._look_up(client.address)
        if len(self._names) >= _NAMES_LIMIT:
            self._names.clear()
        self._names[client.address] = (time.monotonic() + _NAMES_LIFETIME, found)
        client.name, client.reverse_name, client.name_status, client.reverse_status = found

    async def _look_up(self, address: str) -> tuple[str, str, str, str]:
        found = await self._dns.peer_name(address)
        if found.detail:
            log.warning(found.detail)
        return found.name, found.reverse_name, found.status, found.reverse_status

    def close(self) -> None:
        for client in self._policies.values():
            client.close()
