"""Reads the configuration, opens the tables, answers over the bus: the only file of this service that does I/O."""

import itertools
from collections.abc import Mapping

from tubepost.common.wire.base import Message
from tubepost.common.wire.rewrite import Answers, Batch, Resolve, Resolved, Rewrite, Rewritten
from tubepost.common.system import log
from tubepost.common.bus import Handler, Request
from tubepost.common.config import Config, host
from tubepost.common.tables import Maps, TableEnvironment
from tubepost.common.tables.maps import run
from tubepost.common.tables.match import DomainList, LocalDomains, StringList, matches_subdomains
from tubepost.common.skeleton import request
from tubepost.common.skeleton.process import Process
from tubepost.common.skeleton.tables import table_environment

from tubepost.services.rewrite.answers import Protocol
from tubepost.services.rewrite.resolving import Resolver, Routes, Settings
from tubepost.services.rewrite.rewriting import Context, Rules


class Rewriter(request.Service):
    """One process of the service."""

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        self._environment: TableEnvironment | None = None
        self._answers: Protocol | None = None

    async def open(self) -> None:
        self._environment = table_environment(self.process)
        self._answers = make_answers(self.config, self._environment)

    async def close(self) -> None:
        if self._environment is not None:
            self._environment.close()

    @property
    def handlers(self) -> Mapping[type[Message], Handler]:
        return {Rewrite: self._rewrite, Resolve: self._resolve, Batch: self._batch}

    def _rewrite(self, asked: Request[Rewrite]) -> Rewritten:
        assert self._answers is not None
        return self._answers.rewritten(asked.message)

    async def _resolve(self, asked: Request[Resolve]) -> Resolved:
        assert self._answers is not None
        return await run(self._answers.resolved(asked.message))

    async def _batch(self, asked: Request[Batch]) -> Answers:
        assert self._answers is not None
        return await run(self._answers.answers(asked.message))


def make_answers(config: Config, environment: TableEnvironment) -> Protocol:
    """Everything from the parameters; tables are opened through ``environment``."""
    rules = make_rules(config)
    return Protocol(rules, Resolver(make_settings(config, environment, rules)))


def make_rules(config: Config) -> Rules:
    remote = config.remote_header_rewrite_domain
    return Rules(
        local=Context(
            config.myorigin if config.append_at_myorigin else "", config.mydomain if config.append_dot_mydomain else ""
        ),
        remote=Context(remote if config.append_at_myorigin else "", remote if config.append_dot_mydomain else ""),
        swap_bangpath=config.swap_bangpath,
        percent_hack=config.allow_percent_hack,
    )


def make_settings(config: Config, environment: TableEnvironment, rules: Rules) -> Settings:
    own = itertools.chain(
        (str(interface.ip) for interface in host.listening_interfaces(config)), config.proxy_interfaces
    )
    parents = config.parent_domain_matches_subdomains

    def maps(name: str) -> Maps:
        # Text taken from an address has no place in the name of a transport or next hop.
        return Maps(config.get(name), environment, title=name, substitution=not name.endswith("transport_maps"))

    def routes(prefix: str) -> Routes:
        relayhost = config.get(prefix + "relayhost")
        return Routes(
            local_transport=config.get(prefix + "local_transport"),
            virtual_transport=config.get(prefix + "virtual_transport"),
            relay_transport=config.get(prefix + "relay_transport"),
            default_transport=config.get(prefix + "default_transport"),
            relayhost=relayhost if isinstance(relayhost, str) else ", ".join(relayhost),
            transport_maps=maps(prefix + "transport_maps"),
            sender_relayhost_maps=maps(prefix + "sender_dependent_relayhost_maps"),
            sender_transport_maps=maps(prefix + "sender_dependent_default_transport_maps"),
            prefix=prefix,
        )

    return Settings(
        rules=rules,
        local=LocalDomains(config.mydestination, environment, addresses=own, myorigin=config.myorigin),
        virtual_alias_domains=StringList("virtual_alias_domains", config.virtual_alias_domains, environment),
        virtual_mailbox_domains=StringList("virtual_mailbox_domains", config.virtual_mailbox_domains, environment),
        relay_domains=DomainList(
            "relay_domains",
            config.relay_domains,
            environment,
            parents=matches_subdomains(parents, "relay_domains", environment),
        ),
        relocated_maps=maps("relocated_maps"),
        mail=routes(""),
        probe=routes("address_verify_"),
        myhostname=config.myhostname,
        recipient_delimiter=config.recipient_delimiter,
        empty_recipient=config.empty_address_recipient,
        null_relayhost_key=config.empty_address_relayhost_maps_lookup_key,
        null_transport_key=config.empty_address_default_transport_maps_lookup_key,
        transport_parents=matches_subdomains(parents, "transport_maps", environment),
        allow_min_user=config.allow_min_user,
        dequoted=config.resolve_dequoted_address,
        null_domain=config.resolve_null_domain,
        numeric_domain=config.resolve_numeric_domain,
        smtputf8=config.smtputf8_enable,
        name_table=config.show_user_unknown_table_name,
        helpful=config.helpful_warnings,
        warn=log.warning,
    )
