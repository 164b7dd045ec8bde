"""From one recipient to its destinations: the order of Postfix local(8), without doing any of it. Pure.

What is to be looked up or done is asked of a *world*, so that tests can play it. Each method gives False when
something must wait: the recipient is then kept in the queue as a whole, and a file that is being expanded is left.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import NamedTuple, Protocol

from tubepost.common.mail import address
from tubepost.common.mail.addresslist import is_text
from tubepost.common.wire.delivery import RecipientStatus
from tubepost.common.wire.envelope import Recipient
from tubepost.common.wire.rewrite import Resolved
from tubepost.common.config.expand import ExpandError

from tubepost.services.local.alias import Kind, Target, all_targets, targets
from tubepost.services.local.protocol import (
    LEVELS,
    NOBODY,
    Attributes,
    Rights,
    Seen,
    fill,
    split_recipient,
    variables,
    without_success,
)

# Addresses of a list that are asked about together.
_PORTION = 200


class Trouble(Exception):
    """Something cannot be told now; ``dsn`` and the text are for the recipient's status."""

    def __init__(self, dsn: str, text: str) -> None:
        super().__init__(text)
        self.dsn = dsn


class Alias(NamedTuple):
    """``rights``: of the table's owner; NOBODY when that is root."""

    value: str
    rights: Rights


class ListFile(NamedTuple):
    """A forward or :include: file that is there. ``fault``: why it may not be used, or empty."""

    data: bytes
    owner: int
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """The parameters of the same names."""

    transport: str
    recipient_delimiter: str
    forward_path: tuple[str, ...]
    forward_expansion_filter: str
    allow_mail_to_commands: tuple[str, ...]
    allow_mail_to_files: tuple[str, ...]
    propagate_unmatched_extensions: tuple[str, ...]
    owner_request_special: bool
    expand_owner_alias: bool
    reset_owner_alias: bool
    frozen_delivered_to: bool
    require_home_directory: bool
    duplicate_filter_limit: int
    line_length_limit: int
    luser_relay: str


class World(Protocol):
    """Raises Trouble from all but ``warn``."""

    async def alias(self, name: str) -> Alias | None: ...
    def account(self, name: str) -> Rights | None: ...
    def account_by_id(self, uid: int) -> Rights | None: ...
    async def home_trouble(self, rights: Rights) -> str:
        """Why the home directory cannot be entered, or empty."""
        ...

    async def forward_file(self, path: str, rights: Rights) -> ListFile | None: ...
    async def include_file(self, path: str, rights: Rights) -> ListFile: ...
    async def prepare(self, sender: str, addresses: list[str]) -> None:
        """``canonical`` and ``resolve`` will be asked for these: a hint, which raises nothing."""
        ...

    async def canonical(self, address: str) -> str: ...
    async def resolve(self, sender: str, address: str) -> Resolved: ...
    async def transport_of(self, parameter: str, user: str) -> str:
        """``mailbox_transport`` or ``fallback_transport``, of its table or for all; empty for none."""
        ...

    async def settle(self, attributes: Attributes, dsn: str, text: str) -> RecipientStatus: ...
    async def pass_on(self, attributes: Attributes, transport: str) -> RecipientStatus: ...
    async def to_file(self, attributes: Attributes, path: str) -> RecipientStatus: ...
    async def to_command(self, attributes: Attributes, command: str) -> RecipientStatus: ...
    async def to_mailbox(self, attributes: Attributes) -> RecipientStatus: ...
    async def bounce_to_owner(self, attributes: Attributes, owner: str, status: RecipientStatus) -> bool: ...
    def warn(self, text: str) -> None: ...


@dataclass(slots=True)
class Forward:
    """One message to be made: what went by the same recipient, from the same sender."""

    delivered: str
    sender: str
    envid: str
    ret: str
    recipients: list[Recipient]


class Expansion:
    """Of one recipient of a job. ``run``, then ``statuses``, ``forwards`` and ``expanded`` tell what became of it."""

    def __init__(self, world: World, settings: Settings, probe: bool, delivered_to: frozenset[str]) -> None:
        self._world = world
        self._settings = settings
        self._probe = probe
        self._delivered_to = delivered_to
        self._seen = Seen(settings.duplicate_filter_limit)
        self.statuses: list[RecipientStatus] = []
        self.forwards: dict[tuple[str, str], Forward] = {}
        self.expanded = ""

    async def run(self, attributes: Attributes) -> bool:
        done = await self._recipient(attributes)
        if not self.statuses and not self.forwards and self._seen.dropped:
            # Lists that name but each other: the mail would go to nobody, and nobody would know.
            given = attributes.recipient.address
            self._world.warn(f"alias database loop for {given}")
            return await self._end(attributes, "5.4.6", f"alias database loop for {given}")
        return done

    async def _end(self, attributes: Attributes, dsn: str, text: str) -> bool:
        return self._add(await self._world.settle(attributes, dsn, text))

    def _add(self, status: RecipientStatus) -> bool:
        self.statuses.append(status)
        return status.status != "deferred"

    async def _failable(self, attributes: Attributes, status: RecipientStatus) -> bool:
        """A failure of a list's own file, command or loop is for the owner of the list to know, not for its senders."""
        if status.status == "bounced" and self._settings.owner_request_special:
            for name in dict.fromkeys((attributes.local, attributes.user)):
                owner = f"owner-{name}"
                found = await self._world.alias(owner)
                if found is not None:
                    sender = await self._owner_address(owner, found)
                    if await self._world.bounce_to_owner(attributes, sender, status):
                        status = status.model_copy(update={"status": "sent"})
                    break
        return self._add(status)

    async def _owner_address(self, owner: str, found: Alias) -> str:
        if self._settings.expand_owner_alias:
            listed = [target.value for target in targets(found.value) if target.kind is Kind.ADDRESS]
            if listed:
                return await self._world.canonical(listed[0])
        return await self._world.canonical(address.quote_local(owner))

    # -- one recipient -----------------------------------------------------------------------------------------------

    async def _recipient(self, attributes: Attributes) -> bool:
        level = attributes.level + 1
        given = attributes.recipient.address
        attributes = replace(attributes, level=level)
        if level > LEVELS:
            self._world.warn(f"recipient nesting limit exceeded for {given}")
            return await self._end(attributes, "5.4.6", "recipient nesting limit exceeded")
        if self._seen.again(f"recipient {level} {given}"):
            return True
        local, domain, user, extension, delimiter = split_recipient(given, self._settings.recipient_delimiter)
        attributes = replace(
            attributes,
            local=local,
            domain=domain,
            user=user,
            extension=extension,
            delimiter=delimiter,
            unmatched=extension,
            delivered=attributes.delivered or given,
        )
        try:
            if given.casefold() in self._delivered_to:
                status = await self._world.settle(attributes, "5.4.6", f"mail forwarding loop for {given}")
                return await self._failable(attributes, status)
            if not user:
                return await self._end(attributes, "5.1.3", f'null username in "{given}"')
            return await self._switch(attributes)
        except Trouble as trouble:
            return await self._end(attributes, trouble.dsn, str(trouble))

    async def _switch(self, attributes: Attributes) -> bool:
        propagated = self._settings.propagate_unmatched_extensions
        done = await self._alias(replace(attributes, unmatched=""), attributes.local)
        if done is None and attributes.extension:
            kept = attributes.extension if "alias" in propagated else ""
            done = await self._alias(replace(attributes, unmatched=kept), attributes.user)
        if done is not None:
            return done
        # What a list or a forward file names is sent anew, so that each has its own place in the queue; but what an
        # alias without an owner names is delivered at once.
        if attributes.owner and attributes.owner.casefold() != attributes.user:
            return await self._indirect(attributes)
        if attributes.kind == "include":
            return await self._indirect(attributes)
        if self._settings.require_home_directory:
            rights = self._world.account(attributes.user)
            if rights is not None and (trouble := await self._world.home_trouble(rights)):
                return await self._end(attributes, "4.3.0", trouble)
        done = await self._forward(attributes)
        return done if done is not None else await self._deliver(attributes)

    async def _deliver(self, attributes: Attributes) -> bool:
        """To the mailbox, else as unknown."""
        done = await self._mailbox(attributes)
        return done if done is not None else await self._unknown(attributes)

    # -- aliases -----------------------------------------------------------------------------------------------------

    async def _alias(self, attributes: Attributes, name: str) -> bool | None:
        """None: no such alias, or the one that is being expanded."""
        settings = self._settings
        level = attributes.level + 1
        if attributes.source and attributes.source.casefold() == name.casefold():
            return None
        if level > LEVELS:
            self._world.warn(f"alias database loop for {name}")
            return await self._end(attributes, "5.4.6", f"alias database loop for {name}")
        found = await self._world.alias(name)
        if found is None:
            return None
        if self._probe:
            return await self._end(attributes, "2.0.0", f"aliased to {found.value}")
        list_owner = await self._world.alias(f"owner-{name}") if settings.owner_request_special else None
        attributes = replace(attributes, level=level, source=name, kind="alias", rights=found.rights)
        recipient = attributes.recipient
        asked = "SUCCESS" in recipient.notify
        recipient = recipient.model_copy(update={"notify": without_success(recipient.notify)})
        if list_owner is not None:
            sender = await self._owner_address(f"owner-{name}", list_owner)
            # RFC 3461 5.2.7.3: a list's message is a new one, ENVID, NOTIFY, RET and ORCPT do not go on with it.
            recipient = Recipient(address=recipient.address)
            attributes = replace(attributes, sender=sender, owner=sender, envid="", ret="")
        elif settings.reset_owner_alias:
            attributes = replace(attributes, owner="")
        if not settings.frozen_delivered_to:
            attributes = replace(attributes, delivered=recipient.address)
        attributes = replace(attributes, recipient=recipient)
        listed = targets(found.value)
        if not listed:
            self._world.warn(f"no recipient in alias lookup result for {name}")
            return await self._end(attributes, "4.3.0", "alias database unavailable")
        going = await self._targets(attributes, listed, stop=False)
        self._note_expansion(asked, "sent" if list_owner is not None else "expanded")
        return going

    def _note_expansion(self, asked: bool, kind: str) -> None:
        # NOTIFY=SUCCESS goes no deeper than the expansion that answers it.
        if asked or not self.expanded:
            self.expanded = kind

    async def _targets(self, attributes: Attributes, listed: Iterable[Target], *, stop: bool) -> bool:
        """``stop``: at the first that must wait."""
        going = True
        left = iter(listed)
        while portion := list(islice(left, _PORTION)):
            addresses = [
                target.value for target in portion if target.kind in (Kind.ADDRESS, Kind.USER) and is_text(target.value)
            ]
            if len(addresses) > 1:
                await self._world.prepare(attributes.sender, addresses)
            for target in portion:
                if not await self._target(attributes, target):
                    if stop:
                        return False
                    going = False
        return going

    async def _target(self, attributes: Attributes, target: Target) -> bool:
        kind, value = target
        settings = self._settings
        if kind is Kind.FILE:
            return await self._file(attributes, value)
        if kind is Kind.COMMAND:
            if attributes.kind not in settings.allow_mail_to_commands:
                return await self._end(attributes, "5.7.1", "mail to command is restricted")
            return await self._command(attributes, value)
        if kind is Kind.INCLUDE:
            return await self._include(attributes, value)
        return await self._address(attributes, value, direct=kind is Kind.USER)

    # -- forward files -----------------------------------------------------------------------------------------------

    async def _forward(self, attributes: Attributes) -> bool | None:
        """None: the user has no forward file, or it says nothing."""
        settings = self._settings
        if not settings.forward_path:
            return None
        rights = self._world.account(attributes.user)
        if rights is None:
            return None
        level = attributes.level + 1
        attributes = replace(attributes, level=level, rights=rights, kind="forward", owner=attributes.user)
        if not settings.frozen_delivered_to:
            attributes = replace(attributes, delivered=attributes.recipient.address)
        values = variables(attributes, settings.recipient_delimiter)
        for pattern in settings.forward_path:
            try:
                filled = fill(pattern, values, settings.forward_expansion_filter)
            except ExpandError as error:
                self._world.warn(f"forward_path: {error}")
                continue
            if filled.undefined:
                continue
            found = await self._world.forward_file(filled.text, rights)
            if found is None:
                continue
            if filled.extended or "forward" not in settings.propagate_unmatched_extensions:
                attributes = replace(attributes, unmatched="")
            return await self._forward_to(attributes, filled.text, found)
        return None

    async def _forward_to(self, attributes: Attributes, path: str, found: ListFile) -> bool | None:
        if self._probe:
            return await self._end(attributes, "2.0.0", f"forward via file: {path}")
        if self._seen.again(f"forward {path}", fold=False):
            # Met again on the way down: the user is named in the user's own file.
            return True if f"forward-done {path}" in self._seen else None
        if found.fault:
            self._world.warn(found.fault)
            return None
        recipient = attributes.recipient
        asked = "SUCCESS" in recipient.notify
        attributes = replace(
            attributes,
            source=attributes.local,
            recipient=recipient.model_copy(update={"notify": without_success(recipient.notify)}),
        )
        listed = all_targets(found.data, self._settings.line_length_limit)
        first = next(listed, None)
        if first is None:
            return None
        going = await self._targets(attributes, chain((first,), listed), stop=True)
        self._seen.again(f"forward-done {path}", fold=False)
        self._note_expansion(asked, "expanded")
        return going

    # -- :include: ---------------------------------------------------------------------------------------------------

    async def _include(self, attributes: Attributes, path: str) -> bool:
        level = attributes.level + 1
        rights = attributes.rights
        attributes = replace(attributes, level=level, source=attributes.local)
        if level > LEVELS:
            self._world.warn(f":include: nesting limit exceeded for {path}")
            return await self._end(attributes, "5.4.6", ":include: nesting limit exceeded")
        if self._seen.again(f"include {rights.uid} {path}", fold=False):
            return True
        if not path.startswith("/"):
            fault = f":include:{path} uses a relative path"
        else:
            found = await self._world.include_file(path, rights)
            fault = found.fault
        if fault:
            self._world.warn(fault)
            return await self._end(attributes, "5.3.5", "mail system configuration error")
        if rights.uid == 0 and found.owner != 0:
            # A list that root's alias names acts as the list's owner: it must not act as the default account.
            theirs = self._world.account_by_id(found.owner)
            if theirs is None:
                self._world.warn(f"{path}: cannot find :include: file owner username for uid {found.owner}")
                return await self._end(attributes, "4.3.5", "mail system configuration error")
            attributes = replace(attributes, rights=theirs)
        attributes = replace(attributes, kind="include", owner=attributes.owner or attributes.recipient.address)
        if "include" not in self._settings.propagate_unmatched_extensions:
            attributes = replace(attributes, unmatched="")
        listed = all_targets(found.data, self._settings.line_length_limit)
        return await self._targets(attributes, listed, stop=True)

    # -- addresses ---------------------------------------------------------------------------------------------------

    async def _address(self, attributes: Attributes, given: str, *, direct: bool = False) -> bool:
        """``direct``: to the mailbox, without aliases and forward files, where it is a local one."""
        attributes = replace(attributes, level=attributes.level + 1)
        if not is_text(given):
            # RFC 6532 3.1: an address is ASCII or UTF-8.
            return await self._end(attributes, "5.1.3", f"bad recipient address syntax: {given}")
        rewritten = await self._world.canonical(given)
        resolved = await self._world.resolve(attributes.sender, rewritten)
        if resolved.error == "table_failure":
            return await self._end(attributes, "4.3.0", "address resolver failure")
        if resolved.error:
            return await self._end(attributes, "5.1.3", f"bad recipient address syntax: {resolved.recipient}")
        target = resolved.recipient
        if attributes.unmatched:
            local, domain = address.split(target)
            delimiter = attributes.delimiter or self._settings.recipient_delimiter[:1]
            extended = address.unquote_local(local) + delimiter + attributes.unmatched
            target = address.join(address.quote_local(extended), domain)
        recipient = attributes.recipient
        original = recipient.original or recipient.address
        recipient = recipient.model_copy(update={"address": target, "original": "" if original == target else original})
        attributes = replace(attributes, recipient=recipient)
        if resolved.transport != self._settings.transport:
            return await self._indirect(attributes)
        if not direct:
            return await self._recipient(attributes)
        local, domain, user, extension, delimiter = split_recipient(target, self._settings.recipient_delimiter)
        return await self._deliver(
            replace(
                attributes,
                local=local,
                domain=domain,
                user=user,
                extension=extension,
                delimiter=delimiter,
                unmatched="",
            )
        )

    async def _indirect(self, attributes: Attributes) -> bool:
        """As a new message."""
        recipient = attributes.recipient
        if self._seen.again(f"indirect {recipient.address}"):
            return True
        if self._probe:
            return await self._end(attributes, "2.0.0", f"forwards to {recipient.address}")
        forward = self.forwards.setdefault(
            (attributes.delivered, attributes.sender),
            Forward(attributes.delivered, attributes.sender, attributes.envid, attributes.ret, []),
        )
        forward.recipients.append(recipient)
        return True

    # -- the ends of the road ----------------------------------------------------------------------------------------

    async def _file(self, attributes: Attributes, path: str) -> bool:
        if path.startswith("~"):
            home = attributes.rights.home
            if not path.startswith("~/") or not home:
                words = "unknown home directory" if path.startswith("~/") else "bad home directory syntax"
                self._world.warn(f"{words} for: {path}")
                return await self._end(attributes, "5.3.5", "mail system configuration error")
            path = home.rstrip("/") + path[1:]
        if self._seen.again(f"file {attributes.rights.uid} {path}", fold=False):
            return True
        if attributes.kind not in self._settings.allow_mail_to_files:
            status = await self._world.settle(attributes, "5.7.1", "mail to file is restricted")
        elif self._probe:
            status = await self._world.settle(attributes, "2.0.0", f"delivers to file: {path}")
        else:
            status = await self._world.to_file(attributes, path)
        return await self._failable(attributes, status)

    async def _command(self, attributes: Attributes, command: str) -> bool:
        if self._seen.again(f"command {attributes.user}:{attributes.rights.uid} {command}", fold=False):
            return True
        if self._probe:
            return await self._end(attributes, "2.0.0", f"delivers to command: {command}")
        return await self._failable(attributes, await self._world.to_command(attributes, command))

    async def _mailbox(self, attributes: Attributes) -> bool | None:
        """None: there is no such user."""
        attributes = replace(attributes, level=attributes.level + 1)
        if self._seen.again(f"mailbox {attributes.local}"):
            return True
        transport = await self._world.transport_of("mailbox_transport", attributes.user)
        if transport:
            return self._add(await self._world.pass_on(attributes, transport))
        rights = self._world.account(attributes.user)
        if rights is None:
            return None
        attributes = replace(attributes, rights=rights)
        if self._probe:
            return await self._end(attributes, "2.0.0", "delivers to mailbox")
        if not self._settings.frozen_delivered_to:
            attributes = replace(attributes, delivered=attributes.recipient.address)
        return self._add(await self._world.to_mailbox(attributes))

    async def _unknown(self, attributes: Attributes) -> bool:
        if self._seen.again(f"unknown {attributes.local}"):
            return True
        user = attributes.user
        transport = await self._world.transport_of("fallback_transport", user)
        if transport:
            return self._add(await self._world.pass_on(attributes, transport))
        relay = self._settings.luser_relay
        if relay:
            try:
                target = fill(relay, variables(attributes, self._settings.recipient_delimiter)).text
            except ExpandError as error:
                self._world.warn(f"luser_relay: {error}")
                return await self._end(attributes, "4.3.5", "mail system configuration error")
            if (await self._world.canonical(target)).casefold() != attributes.recipient.address.casefold():
                return await self._address(replace(attributes, unmatched=""), target)
        elif user in ("mailer-daemon", "postmaster"):
            # RFC 5321 4.5.1: mail for postmaster is always taken.
            self._world.warn(f"required alias not found: {user}")
            return await self._end(attributes, "2.0.0", "discarded")
        return await self._end(attributes, "5.1.1", f'unknown user: "{user}"')


__all__ = ["NOBODY", "Alias", "Expansion", "Forward", "ListFile", "Settings", "Trouble", "World"]
