"""What the restriction language asks of the outside, made up (see ``restrictions.world``); one judgement made of it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tubepost.common.wire.rewrite import Resolved
from tubepost.common.wire.verify import Verdict
from tubepost.common.config.settings import from_text
from tubepost.common.net.certificates import PeerCertificate
from tubepost.common.tables import Maps, TableEnvironment
from tubepost.common.tables.match import AddressList, HostList, LocalDomains, StringList

from tubepost.services.smtpd.restrictions import engine, language
from tubepost.services.smtpd.restrictions.evaluation import Client, Evaluation
from tubepost.services.smtpd.restrictions.words import CLIENT, DATA, ETRN, HELO, RECIPIENT, SENDER
from tubepost.services.smtpd.restrictions.world import NameUnknown, Resolver, Rules
from tubepost.services.smtpd.steps import Steps, drive_on

KINDS = {"client": CLIENT, "helo": HELO, "sender": SENDER, "relay": RECIPIENT, "recipient": RECIPIENT, "etrn": ETRN}


class Dns:
    """Records by (type, name); an exception as record is raised; nothing there means that the name is unknown."""

    def __init__(self, records: Mapping[tuple[str, str], Any]) -> None:
        self.records = records

    def _get(self, kind: str, name: str) -> Any:
        found = self.records.get((kind, name), NameUnknown(name))
        if isinstance(found, Exception):
            raise found
        return found

    async def addresses(self, name: str) -> tuple[str, ...]:
        return tuple(self._get("A", name))

    async def ipv4(self, name: str) -> tuple[str, ...]:
        return tuple(self._get("A", name))

    async def texts(self, name: str) -> tuple[str, ...]:
        return tuple(self._get("TXT", name))

    async def exchangers(self, name: str) -> tuple[tuple[int, str], ...]:
        return tuple(self._get("MX", name))

    async def servers(self, name: str) -> tuple[str, ...]:
        return tuple(self._get("NS", name))

    async def reverse(self, address: str) -> tuple[str, ...]:
        return tuple(self._get("PTR", address))


class World:
    """Two domains are ours: here.example (virtual mailbox: alice) and relay.example; local.example is local."""

    def __init__(self, settings: Mapping[str, str], dns: Mapping[tuple[str, str], Any] | None = None) -> None:
        self.config = from_text("", "/nowhere", {"myhostname": "mx.example", "mynetworks": "192.0.2.0/24", **settings})
        self.rules: Rules = self.config
        self.resolver: Resolver = Dns(dns or {})
        self.environment = TableEnvironment(warn=self.warn)
        environment = self.environment
        self.mynetworks = HostList("mynetworks", self.config.mynetworks, environment)
        self.own_addresses = frozenset({"198.51.100.1"})
        self.access_parents = True
        self.logged_permits = StringList("x", self.config.smtpd_log_access_permit_actions, environment)
        self.mx_backup_networks = AddressList("x", self.config.permit_mx_backup_networks, environment)
        self.local = LocalDomains("local.example", environment)
        self.check_unlisted = True
        inline = "inline:{{ alice@here.example = x }}"
        self.local_recipients = Maps("inline:{{ bob = x }}", environment)
        self.virtual_mailboxes = Maps([inline], environment)
        self.relay_recipients = Maps("", environment)
        self.virtual_aliases = Maps(["inline:{{ info@here.example = alice@here.example }}"], environment)
        self.canonical = self.recipient_canonical = self.sender_canonical = Maps("", environment)
        self.rbl_replies = Maps("", environment)
        self.sender_logins = Maps(self.config.smtpd_sender_login_maps, environment)
        self.client_certificates = Maps(self.config.relay_clientcerts, environment)
        self.warnings: list[str] = []
        self.lines: list[str] = []
        self.slept: list[float] = []
        self.policies: list[Mapping[str, str]] = []
        self.policy_answer: tuple[str, bool] = ("DUNNO", True)
        self.verdict: Verdict | None = Verdict(status="ok")
        self.broken = False
        self.awaits = False

    def censor(self, value: str | None) -> str | None:
        return value

    async def knows_certificate(self, certificate: PeerCertificate) -> bool:
        prints = (certificate.fingerprint, certificate.public_key_fingerprint)
        return any([await self.client_certificates.lookup(one) is not None for one in prints])

    def steps(self, text: str, kind: str) -> tuple[language.Step, ...]:
        return language.compile_list(text, kind)

    def restriction_class(self, name: str) -> str | None:
        return self.config.raw(name) if name in self.config.smtpd_restriction_classes else None

    def table(self, spec: str) -> Maps:
        return Maps([spec], self.environment)

    def _route(self, address: str) -> Resolved:
        domain = address.rpartition("@")[2]
        kind: Any = {"here.example": "virtual_mailbox", "relay.example": "relay", "local.example": "local"}.get(domain)
        error: Any = "table_failure" if self.broken else ""
        return Resolved(
            transport="smtp", nexthop=domain, recipient=address, address_class=kind or "default", error=error
        )

    def known_route(self, sender: str, address: str) -> Resolved | None:
        return None if self.broken or self.awaits else self._route(address)

    def resolve(self, sender: str, address: str) -> Awaitable[Resolved]:
        async def later() -> Resolved:
            await asyncio.sleep(0)
            return self._route(address)

        return later()

    async def verify(self, address: str) -> Verdict | None:
        return self.verdict

    async def ask_policy(self, server: str, attributes: Mapping[str, str]) -> tuple[str, bool]:
        self.policies.append(attributes)
        return self.policy_answer

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def info(self, text: str) -> None:
        self.lines.append(text)


def run(work: Steps[str]) -> str:
    return asyncio.run(drive_on(work))


def evaluate(
    world: World,
    *,
    recipient: str = "alice@here.example",
    sender: str = "a@b.example",
    client: Client | None = None,
    helo: str = "client.example",
    check: Callable[[Evaluation, engine.Lists], Steps[str]] = engine.check_recipient,
    **lists: str,
) -> tuple[str, Evaluation]:
    """The reply ("" for yes) and what else came of it."""
    evaluation = Evaluation(world, client or Client("203.0.113.9", name="c.example", name_status="ok"))
    evaluation.where = "RCPT"
    evaluation.sender, evaluation.recipient, evaluation.helo = sender, recipient, helo
    compiled = {name: language.compile_list(text, KINDS.get(name, DATA)) for name, text in lists.items()}
    return run(check(evaluation, engine.Lists(**compiled))), evaluation
