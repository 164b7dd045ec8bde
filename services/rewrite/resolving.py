"""Where mail for an address goes: transport, next hop, recipient, address class. Pure: table look-ups are steps.

Source: Postfix trivial-rewrite(8), ADDRESS_CLASS_README, transport(5), postconf(5). The order of precedence for the
next hop of other hosts' domains: transport_maps, sender_dependent_relayhost_maps, relayhost, the recipient's domain.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tubepost.common.mail.address import quote_local
from tubepost.common.wire.rewrite import Resolved
from tubepost.common.tables import Maps, TableError
from tubepost.common.tables import address as search
from tubepost.common.tables.address import Strategy
from tubepost.common.tables.maps import Steps
from tubepost.common.tables.match import DomainList, LocalDomains, StringList

from tubepost.services.rewrite import hosts, tokens
from tubepost.services.rewrite.rewriting import Rules, rewrite_tokens, without_final_dot
from tubepost.services.rewrite.tokens import QUOTED, Token

AddressClass = Literal["local", "virtual_alias", "virtual_mailbox", "relay", "default"]
# Of a domain listed in two classes we warn once; more such domains than this are not remembered.
_WARNED_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Routes:
    """One set of routing parameters: that of mail, or the address_verify_… one of probes. Texts as in main.cf."""

    local_transport: str
    virtual_transport: str
    relay_transport: str
    default_transport: str
    relayhost: str
    transport_maps: Maps
    sender_relayhost_maps: Maps
    sender_transport_maps: Maps
    prefix: str = ""
    """``address_verify_`` for probes: names the parameter at fault."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All that resolving depends on."""

    rules: Rules
    local: LocalDomains
    virtual_alias_domains: StringList
    virtual_mailbox_domains: StringList
    relay_domains: DomainList
    relocated_maps: Maps
    mail: Routes
    probe: Routes
    myhostname: str
    recipient_delimiter: str
    empty_recipient: str
    null_relayhost_key: str
    null_transport_key: str
    transport_parents: bool
    allow_min_user: bool
    dequoted: bool
    null_domain: bool
    numeric_domain: bool
    smtputf8: bool
    name_table: bool
    """show_user_unknown_table_name"""
    helpful: bool
    warn: Callable[[str], None]


class Fault(Exception):
    """Resolving ends here: ``args`` are the error of wire.rewrite.Resolved and the reason."""


class Resolver:
    """Answers for one configuration."""

    __slots__ = ("_settings", "_transport_strategy", "_warned")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._transport_strategy = search.transport_strategy(settings.transport_parents)
        self._warned: set[str] = set()

    def resolve(self, sender: str, address: str, probe: bool = False) -> Steps[Resolved]:
        """Steps to the answer; TableError and bad syntax become the answer's ``error``."""
        settings = self._settings
        routes = settings.probe if probe else settings.mail
        try:
            recipient, domain, foreign = yield from self._strip(address)
            return (yield from self._route(routes, sender, recipient, domain, foreign))
        except Fault as fault:
            error, reason = fault.args
        except TableError as failure:
            error, reason = "table_failure", str(failure)
            settings.warn(reason)
        return Resolved(
            transport="",
            nexthop="",
            recipient=address,
            address_class="default",
            error=error,
            reason=reason,
        )

    def _strip(self, address: str) -> Steps[tuple[list[Token], str, bool]]:
        """Take off local domains until a foreign one, or a local part, is left.

        The result: the recipient's tokens, its domain as text, and whether that domain is not this system's.
        """
        settings = self._settings
        rules = settings.rules
        tree = tokens.scan_address(address) if address else []
        saved: list[Token] = []
        foreign = False
        # Each round takes off one operator or adds one: more rounds than this are a mistake of ours.
        for _ in range(len(address) + 100):
            if tokens.last_index(tree, "@") >= 0:
                tree = without_final_dot(tree)
            if settings.null_domain and tree and tree[-1][0] == "@":
                tree = tree[:-1]
            at = tokens.last_index(tree, "@")
            if at >= 0:
                domain = tree[at + 1 :]
                if domain and not (yield from settings.local.search_destination(tokens.internal(domain))):
                    foreign = True
                    break
                tree, saved = tree[:at], tree[at:]
            if (
                tokens.last_index(tree, "@") >= 0
                or (rules.swap_bangpath and tokens.last_index(tree, "!") >= 0)
                or (rules.percent_hack and tokens.last_index(tree, "%") >= 0)
            ):
                tree = rewrite_tokens(tree, rules.local, rules)
                continue
            opened = self._open_quotes(tree)
            if opened is not None:
                tree = rewrite_tokens(opened, rules.local, rules)
                continue
            if tree == [(QUOTED, "")]:
                tree = []
            if not tree:
                tree = tokens.scan_address(settings.empty_recipient)
                continue
            if not saved:
                tree = [*tree, ("@", "@"), *tokens.scan(settings.myhostname)]
                continue
            break
        else:
            raise Fault("table_failure", f"<{address:.200}>: cannot be resolved: giving up")
        if not foreign:
            tree = tree + saved
        return (yield from self._check_domain(tree, foreign))

    def _open_quotes(self, tree: list[Token]) -> list[Token] | None:
        """The tokens inside a quoted local part with routing operators, or None: resolve_dequoted_address."""
        rules = self._settings.rules
        if not self._settings.dequoted or len(tree) != 1 or tree[0][0] != QUOTED:
            return None
        text = tree[0][1]
        if "@" in text:
            at = text.rindex("@")
        elif rules.percent_hack and "%" in text:
            at = text.rindex("%")
        elif rules.swap_bangpath and "!" in text:
            return tokens.scan(text) or None
        else:
            return None
        left = text[:at]
        # The local part keeps quotes where it needs them, so that "a b@c" is not torn in two.
        inner: list[Token] = tokens.scan(left) if quote_local(left) == left else [(QUOTED, left)]
        return [*inner, ("@", "@"), *tokens.scan(text[at + 1 :])]

    def _check_domain(self, tree: list[Token], foreign: bool) -> Steps[tuple[list[Token], str, bool]]:
        settings = self._settings
        at = tokens.last_index(tree, "@")
        domain = tokens.internal(tree[at + 1 :])
        if domain.startswith("["):
            if not hosts.is_literal(domain):
                raise Fault("bad_syntax", f"bad address literal {domain:.100}")
        elif not hosts.is_host_name(domain, settings.smtputf8):
            if not (settings.numeric_domain and hosts.is_address(domain)):
                raise Fault("bad_syntax", f'bad domain name "{domain:.100}"')
            domain = f"[IPv6:{domain}]" if ":" in domain else f"[{domain}]"
            tree = [*tree[: at + 1], (tokens.LITERAL, domain)]
            if (yield from settings.local.search_destination(domain)):
                foreign = False
        return tree, domain, foreign

    def _class_of(self, domain: str) -> Steps[AddressClass]:
        """Of a domain that is not local; the order is ADDRESS_CLASS_README's."""
        settings = self._settings
        if (yield from settings.virtual_alias_domains.search(domain)):
            return "virtual_alias"
        if (yield from settings.virtual_mailbox_domains.search(domain)):
            return "virtual_mailbox"
        if (yield from settings.relay_domains.search(domain)):
            return "relay"
        return "default"

    def _warn_of_doubles(self, domain: str, where: AddressClass) -> Steps[None]:
        settings = self._settings
        if not settings.helpful or domain in self._warned or len(self._warned) >= _WARNED_LIMIT:
            return
        names = {"local": "mydestination", "virtual_alias": "virtual_alias_domains"}
        names |= {"virtual_mailbox": "virtual_mailbox_domains", "relay": "relay_domains"}
        lists = [
            ("virtual_alias_domains", settings.virtual_alias_domains),
            ("virtual_mailbox_domains", settings.virtual_mailbox_domains),
        ]
        if where != "local":
            lists.append(("relay_domains", settings.relay_domains))
        own = names.get(where, "")
        start = [name for name, _ in lists].index(own) + 1 if own in dict(lists) else 0
        for name, domains in lists[start:] if own else ():
            if (yield from domains.search(domain)):
                self._warned.add(domain)
                settings.warn(f"do not list domain {domain} in BOTH {own} and {name}")

    def _route(
        self, routes: Routes, sender: str, recipient: list[Token], domain: str, foreign: bool
    ) -> Steps[Resolved]:
        settings = self._settings
        at = tokens.last_index(recipient, "@")
        local = tokens.internal(recipient[:at])
        text = f"{quote_local(local)}@{domain}"
        kind: AddressClass = (yield from self._class_of(domain)) if foreign else "local"
        yield from self._warn_of_doubles(domain, kind)
        nexthop = domain
        if kind == "local":
            channel, blame = routes.local_transport, "local_transport"
        elif kind == "virtual_alias":
            # Nobody is left to deliver to: what virtual_alias_maps knows has been replaced before.
            table = " in virtual alias table" if settings.name_table else ""
            channel, blame = f"error:5.1.1 User unknown{table}", ""
        elif kind == "virtual_mailbox":
            channel, blame = routes.virtual_transport, "virtual_transport"
        else:
            if kind == "relay":
                channel, blame = routes.relay_transport, "relay_transport"
            else:
                channel, blame = routes.default_transport, "default_transport"
                key = sender or settings.null_transport_key
                found = yield from self._find(routes.sender_transport_maps, key)
                if found is not None and found.upper() != "DUNNO":
                    channel, blame = found, "sender_dependent_default_transport_maps"
            relay = yield from self._find(routes.sender_relayhost_maps, sender or settings.null_relayhost_key)
            if relay is not None and relay.upper() != "DUNNO":
                nexthop = relay
            elif routes.relayhost:
                nexthop = routes.relayhost
        channel, _, destination = channel.partition(":")
        if destination:
            nexthop = destination
        if not channel:
            raise Fault("table_failure", f"parameter {routes.prefix}{blame}: null transport is not allowed")

        if kind != "virtual_alias" and routes.transport_maps:
            value = yield from self._find(routes.transport_maps, text, self._transport_strategy)
            if value is None:
                value = yield from routes.transport_maps.search("*")
            if value is not None:
                channel, nexthop = apply_transport(value, domain, channel, nexthop)
        moved = yield from self._find(settings.relocated_maps, text)
        if moved is not None:
            channel, nexthop = "error", f"5.1.6 User has moved to {moved}"
        # Commands may take such an address for an option; they get it without quotes.
        if local.startswith("-") and not settings.allow_min_user:
            raise Fault("bad_syntax", "recipient address must not start with '-'")
        return Resolved(
            transport=channel,
            nexthop=nexthop,
            recipient=text,
            address_class=kind,
            routed=is_routed(tokens.internal(recipient), domain),
        )

    def _find(self, maps: Maps, key: str, strategy: Strategy = search.DEFAULT) -> Steps[str | None]:
        if not maps:
            return None
        settings = self._settings
        found = yield from search.search(
            maps, key, delimiter=settings.recipient_delimiter, strategy=strategy, local=settings.local
        )
        return None if found is None else found.value


def apply_transport(value: str, domain: str, channel: str, nexthop: str) -> tuple[str, str]:
    """A transport_maps result laid over (transport, next hop); transport(5), RESULT FORMAT.

    ``:nexthop`` keeps the transport, ``:`` changes nothing; ``transport`` alone goes to the recipient's domain.
    """
    new_channel, _, new_nexthop = value.partition(":")
    if not new_channel:
        return channel, new_nexthop or nexthop
    if new_nexthop:
        return new_channel, new_nexthop
    if new_channel in ("error", "retry"):
        return new_channel, "Address is undeliverable"
    return new_channel, domain


_ROUTING = re.compile(r"[@!%]")


def is_routed(address: str, domain: str) -> bool:
    """Does the local part hold routing operators, which the next host might follow?"""
    match = _ROUTING.search(address)
    return match is None or address[match.end() :] != domain
