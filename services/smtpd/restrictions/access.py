"""Access tables: the search for client, HELO name and address, and the actions of access(5)."""

import re
from collections.abc import Callable
from functools import lru_cache

from tubepost.common.mail import dsn as status_codes
from tubepost.common.tables import Maps, TableError
from tubepost.common.tables import address as search
from tubepost.common.tables.maps import Steps, run
from tubepost.common.tables.words import inside_braces, split_list, split_pair

from tubepost.services.smtpd.restrictions.evaluation import Evaluation, HangUp
from tubepost.services.smtpd.restrictions.routes import awaited, domain_of, route
from tubepost.services.smtpd.restrictions.words import (
    CERTIFICATE,
    CLIENT,
    DUNNO,
    ETRN,
    HELO,
    LOGIN,
    OK,
    RECIPIENT,
    REVERSE_CLIENT,
    SENDER,
    fit_status,
)

RECURSION_LIMIT = 100
_FINGERPRINTS = ("cert_fingerprint", "pubkey_fingerprint")
_CODE = re.compile(r"([45])[0-9][0-9]")
_HEADER = re.compile(r"[!-9;-~]+[ \t]*:")
_BROKEN_TABLE = "451 4.3.5 Server configuration error"


async def _lookup(evaluation: Evaluation, spec: str, steps: "Steps[str | None]") -> str | None:
    try:
        return await run(steps)
    except TableError as error:
        evaluation.world.warn(str(error))
        return _BROKEN_TABLE


def search_client(maps: Maps, name: str, address: str, parents: bool) -> "Steps[str | None]":
    """Name and its parent domains, then the address and its networks."""
    value = yield from search_domain(maps, name, parents)
    if value is None and address:
        value = yield from search.search_network(maps, address)
    return value


def search_domain(maps: Maps, name: str, parents: bool) -> "Steps[str | None]":
    # A name that is an address has no parent domains.
    if not name.strip("0123456789.:"):
        return (yield from maps.search(name))
    return (yield from search.search_host(maps, name, parents))


async def check_client_access(evaluation: Evaluation, _name: str, kind: str, argument: str) -> int:
    client = evaluation.client
    maps = evaluation.world.table(argument)
    steps = search_client(maps, client.name, client.address, evaluation.world.access_parents)
    value = await _lookup(evaluation, argument, steps)
    if value is None:
        return DUNNO
    return await act(evaluation, argument, value, client.name, client.identity, CLIENT)


async def check_reverse_client_hostname_access(evaluation: Evaluation, _name: str, _kind: str, argument: str) -> int:
    client = evaluation.client
    maps = evaluation.world.table(argument)
    steps = search_client(maps, client.reverse_name, client.address, evaluation.world.access_parents)
    value = await _lookup(evaluation, argument, steps)
    if value is None:
        return DUNNO
    status = await act(evaluation, argument, value, client.reverse_name, client.reverse_name, REVERSE_CLIENT)
    return forbid_permit(evaluation, "check_reverse_client_hostname_access", status, client.reverse_name)


async def check_helo_access(evaluation: Evaluation, _name: str, _kind: str, argument: str) -> int:
    helo = evaluation.helo
    if not helo:
        return DUNNO
    steps = search_domain(evaluation.world.table(argument), helo, evaluation.world.access_parents)
    value = await _lookup(evaluation, argument, steps)
    return DUNNO if value is None else await act(evaluation, argument, value, helo, helo, HELO)


async def check_etrn_access(evaluation: Evaluation, _name: str, _kind: str, argument: str) -> int:
    domain = evaluation.etrn
    if not domain:
        return DUNNO
    steps = search_domain(evaluation.world.table(argument), domain, evaluation.world.access_parents)
    value = await _lookup(evaluation, argument, steps)
    return DUNNO if value is None else await act(evaluation, argument, value, domain, domain, ETRN)


async def check_sasl_access(evaluation: Evaluation, _name: str, _kind: str, argument: str) -> int:
    user = evaluation.client.user
    if not user:
        return DUNNO
    value = await _lookup(evaluation, argument, evaluation.world.table(argument).search(user))
    return DUNNO if value is None else await act(evaluation, argument, value, user, user, LOGIN)


async def check_ccert_access(evaluation: Evaluation, _name: str, _kind: str, argument: str) -> int:
    """By the fingerprint of the client's certificate, then by that of its key; or in the order that is asked for:
    ``{ type:table, { search_order = pubkey_fingerprint, cert_fingerprint } }``.
    """
    try:
        table, order = _search_order(argument)
    except ValueError as error:
        raise evaluation.misconfigured(f"check_ccert_access {argument}: {error}") from error
    agreed = evaluation.client.agreed
    if agreed is None or agreed.certificate is None:
        return DUNNO
    certificate = agreed.certificate
    for name in order:
        fingerprint = certificate.fingerprint if name == "cert_fingerprint" else certificate.public_key_fingerprint
        value = await _lookup(evaluation, table, evaluation.world.table(table).search(fingerprint))
        if value is not None:
            status = await act(evaluation, table, value, fingerprint, certificate.subject, CERTIFICATE)
            if status:
                return status
    return DUNNO


@lru_cache(100)
def _search_order(argument: str) -> tuple[str, tuple[str, ...]]:
    """(table, what is looked for in it). Raises ValueError."""
    if not argument.startswith("{"):
        return argument, _FINGERPRINTS
    table, *settings = split_list(inside_braces(argument))
    order: tuple[str, ...] = _FINGERPRINTS
    for setting in settings:
        name, value = split_pair(inside_braces(setting) if setting.startswith("{") else setting)
        order = tuple(word.lower() for word in split_list(value))
        if name != "search_order" or not order or not set(order) <= set(_FINGERPRINTS):
            raise ValueError(f'"{name} = {value}" is not search_order with some of {", ".join(_FINGERPRINTS)}')
    return table, order


async def check_sender_access(evaluation: Evaluation, _name: str, _kind: str, argument: str) -> int:
    sender = evaluation.sender
    if sender is None:
        return DUNNO
    if sender:
        return await _check_address(evaluation, argument, sender, evaluation.recipient, SENDER)
    key = evaluation.world.rules.smtpd_null_access_lookup_key
    value = await _lookup(evaluation, argument, evaluation.world.table(argument).search(key))
    return DUNNO if value is None else await act(evaluation, argument, value, key, "", SENDER)


async def check_recipient_access(evaluation: Evaluation, _name: str, _kind: str, argument: str) -> int:
    recipient = evaluation.recipient
    if not recipient:
        return DUNNO
    return await _check_address(evaluation, argument, recipient, evaluation.sender, RECIPIENT)


async def _check_address(evaluation: Evaluation, spec: str, address: str, other: str | None, kind: str) -> int:
    world = evaluation.world
    resolved = await awaited(route(evaluation, other, address))
    key = resolved.recipient
    if domain_of(key) is None:
        world.warn(f"check_mail_access: no @domain in address: {key}")
        return DUNNO
    try:
        found = await search.find(
            world.table(spec),
            key,
            delimiter=world.rules.recipient_delimiter,
            strategy=search.access_strategy(world.access_parents),
            local=world.local,
        )
        value = found.value if found is not None else None
    except TableError as error:
        world.warn(str(error))
        value = _BROKEN_TABLE
    if value is None:
        return DUNNO
    status = await act(evaluation, spec, value, key, address, kind)
    if status == OK and kind == RECIPIENT and not world.rules.allow_untrusted_routing:
        local = key.rpartition("@")[0].strip('"')
        if "@" in local or "%" in local or "!" in local:
            # Permission for user@elsewhere@here would be permission to relay.
            return DUNNO
    return status


def forbid_permit(evaluation: Evaluation, restriction: str, status: int, target: str) -> int:
    """What a stranger's DNS says must not let him in."""
    if status == OK and not evaluation.effects.discard:
        raise evaluation.misconfigured(
            f"restriction {restriction} returns OK for {target}",
            "this is not allowed for security reasons",
            "use DUNNO instead of OK if you want to make an exception",
        )
    return status


async def act(evaluation: Evaluation, table: str, value: str, datum: str, name: str, kind: str) -> int:
    """An action of access(5): what a table or a policy service answered. ``datum``: the key that was found."""
    words = value.split(None, 1)
    word, text = (words[0], words[-1].rstrip() if len(words) > 1 else "") if words else ("", "")
    verb = word.upper()
    simple = _ACTIONS.get(verb)
    if simple is not None:
        return simple(evaluation, table, text, datum, name, kind)
    if value.strip().isdigit() and value.isascii():
        return evaluation.permit(word, kind, name, f"from {table}")
    code = _CODE.fullmatch(word)
    if code is not None and text:
        status, text = status_codes.split(text, f"{code.group(1)}.7.1")
        reply = f"<{name}>: {kind} rejected: {text or 'Access denied'}"
        return evaluation.reject("policy", int(word), fit_status(status, kind), reply)
    if ":" in value:
        raise evaluation.misconfigured(
            f"access table {table} has entry with lookup table: {value}",
            "do not specify lookup tables inside SMTPD access maps",
            "define a restriction class and specify its name instead.",
        )
    if evaluation.recursion > RECURSION_LIMIT:
        raise evaluation.misconfigured(f"access table {table} entry {value} causes unreasonable recursion")
    from tubepost.services.smtpd.restrictions import engine

    return await engine.run(evaluation, evaluation.world.steps(value, evaluation.list_kind), name, kind)


def _dunno(*_arguments: object) -> int:
    return DUNNO


def _permit(evaluation: Evaluation, table: str, _text: str, _datum: str, name: str, kind: str) -> int:
    return evaluation.permit("OK", kind, name, f"from {table}")


def _reject(evaluation: Evaluation, _table: str, text: str, _datum: str, name: str, kind: str) -> int:
    status, text = status_codes.split(text, "5.7.1")
    code = evaluation.world.rules.access_map_reject_code
    reply = f"<{name}>: {kind} rejected: {text or 'Access denied'}"
    return evaluation.reject("policy", code, fit_status(status, kind), reply)


def _defer(evaluation: Evaluation, _table: str, text: str, _datum: str, name: str, kind: str) -> int:
    status, text = status_codes.split(text, "4.7.1")
    code = evaluation.world.rules.access_map_defer_code
    reply = f"<{name}>: {kind} rejected: {text or 'Access denied'}"
    return evaluation.reject("policy", code, fit_status(status, kind), reply)


def _defer_if_permit(evaluation: Evaluation, _table: str, text: str, _datum: str, name: str, kind: str) -> int:
    status, text = status_codes.split(text, "4.7.1")
    code = evaluation.world.rules.access_map_defer_code
    reply = f"<{name}>: {kind} rejected: {text or 'Service unavailable'}"
    return evaluation.defer_permit(True, "policy", code, fit_status(status, kind), reply)


def _defer_if_reject(evaluation: Evaluation, _table: str, text: str, _datum: str, name: str, kind: str) -> int:
    status, text = status_codes.split(text, "4.7.1")
    code = evaluation.world.rules.access_map_defer_code
    reply = f"<{name}>: {kind} rejected: {text or 'Service unavailable'}"
    return evaluation.defer_reject("policy", code, fit_status(status, kind), reply)


def _hangup(evaluation: Evaluation, _table: str, text: str, _datum: str, _name: str, _kind: str) -> int:
    evaluation.log("hangup", text)
    raise HangUp


def _info(evaluation: Evaluation, _table: str, text: str, _datum: str, _name: str, _kind: str) -> int:
    evaluation.log("info", text)
    return DUNNO


def _warn(evaluation: Evaluation, _table: str, text: str, _datum: str, _name: str, _kind: str) -> int:
    evaluation.log("warn", text)
    return DUNNO


def _is_about_message(evaluation: Evaluation, table: str, action: str) -> bool:
    """Whether there is a message that the action could be about."""
    if evaluation.where == "ETRN":
        evaluation.world.warn(f"access table {table}: action {action} is unavailable in smtpd_etrn_restrictions")
        return False
    if evaluation.sender is None:
        evaluation.world.warn(
            f"access table {table}: with smtpd_delay_reject=no, action {action} is always skipped in "
            "Client host or Helo command restrictions"
        )
        return False
    return True


def _filter(evaluation: Evaluation, table: str, text: str, datum: str, name: str, kind: str) -> int:
    if not _is_about_message(evaluation, table, "FILTER"):
        return DUNNO
    if ":" not in text:
        evaluation.world.warn(f'access table {table} entry "{datum}" requires transport:destination')
        return DUNNO
    evaluation.log("filter", f"<{name}>: {kind} triggers FILTER {text}")
    evaluation.effects.content_filter = text
    return DUNNO


def _hold(evaluation: Evaluation, table: str, text: str, _datum: str, name: str, kind: str) -> int:
    if not _is_about_message(evaluation, table, "HOLD") or evaluation.effects.hold:
        return DUNNO
    evaluation.log("hold", f"<{name}>: {kind} {text or 'triggers HOLD action'}")
    evaluation.effects.hold = True
    return DUNNO


def _discard(evaluation: Evaluation, table: str, text: str, _datum: str, name: str, kind: str) -> int:
    if not _is_about_message(evaluation, table, "DISCARD"):
        return DUNNO
    evaluation.log("discard", f"<{name}>: {kind} {text or 'triggers DISCARD action'}")
    evaluation.effects.discard = True
    return evaluation.permit("DISCARD", kind, name, f"from {table}")


def _redirect(evaluation: Evaluation, table: str, text: str, datum: str, name: str, kind: str) -> int:
    if not _is_about_message(evaluation, table, "REDIRECT"):
        return DUNNO
    if "@" not in text:
        evaluation.world.warn(f'access table {table} entry "{datum}" requires user@domain target')
        return DUNNO
    evaluation.log("redirect", f"<{name}>: {kind} triggers REDIRECT {text}")
    evaluation.effects.redirect = text
    return DUNNO


def _bcc(evaluation: Evaluation, table: str, text: str, datum: str, name: str, kind: str) -> int:
    if not _is_about_message(evaluation, table, "BCC"):
        return DUNNO
    if "@" not in text:
        evaluation.world.warn(f'access table {table} entry "{datum}" requires user@domain target')
        return DUNNO
    evaluation.log("bcc", f"<{name}>: {kind} triggers BCC {text}")
    evaluation.effects.bcc.append(text)
    return DUNNO


def _prepend(evaluation: Evaluation, table: str, text: str, datum: str, _name: str, _kind: str) -> int:
    if not _is_about_message(evaluation, table, "PREPEND"):
        return DUNNO
    if evaluation.where == "END-OF-MESSAGE":
        evaluation.world.warn(
            f"access table {table}: action PREPEND must be used before smtpd_end_of_data_restrictions"
        )
        return DUNNO
    if not _HEADER.match(text):
        evaluation.world.warn(f'access table {table} entry "{datum}" requires header: text')
        return DUNNO
    evaluation.effects.prepend.append(text)
    return DUNNO


_ACTIONS: dict[str, Callable[[Evaluation, str, str, str, str, str], int]] = {
    "OK": _permit,
    "RELAY": _permit,
    "DUNNO": _dunno,
    "REJECT": _reject,
    "DEFER": _defer,
    "DEFER_IF_PERMIT": _defer_if_permit,
    "DEFER_IF_REJECT": _defer_if_reject,
    "HANGUP": _hangup,
    "INFO": _info,
    "WARN": _warn,
    "FILTER": _filter,
    "HOLD": _hold,
    "DISCARD": _discard,
    "REDIRECT": _redirect,
    "BCC": _bcc,
    "PREPEND": _prepend,
}
