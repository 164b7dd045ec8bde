"""Rewriting of an address to standard form. Pure. Source: Postfix trivial-rewrite(8), ADDRESS_REWRITING_README."""

import re
from dataclasses import dataclass

from tubepost.services.rewrite import tokens
from tubepost.services.rewrite.tokens import LITERAL, QUOTED, Token

# user@domain.tld of plain atoms: nothing to be done to it.
_STANDARD = re.compile(
    r"[A-Za-z0-9#$&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9#$&'*+/=?^_`{|}~-]+)*@(?:[A-Za-z0-9_-]+\.)+[A-Za-z0-9_-]+"
)


@dataclass(frozen=True, slots=True)
class Context:
    """``origin`` is added to an address without domain, ``domain`` to a domain of one word; empty: not added."""

    origin: str
    domain: str


@dataclass(frozen=True, slots=True)
class Rules:
    """The parameters that matter, for both contexts."""

    local: Context
    remote: Context
    swap_bangpath: bool = True
    percent_hack: bool = True


def rewrite(address: str, context: Context, rules: Rules) -> str:
    """``address`` in external form, rewritten. The null address stays what it is."""
    if not address or _STANDARD.fullmatch(address):
        return address
    return tokens.external(rewrite_tokens(tokens.scan_address(address), context, rules))


def rewrite_tokens(address: list[Token], context: Context, rules: Rules) -> list[Token]:
    """The same for tokens, of which there is at least one; a new list."""
    if address == [(QUOTED, "")]:
        return address
    # A lone @ is as good as an empty address.
    if len(address) == 1 and address[0][0] == "@":
        return [(QUOTED, "")]

    # Source route, RFC 5321 4.1.2 A-d-l: "@a,@b:user@c".
    if address[0][0] == "@":
        colon = tokens.first_index(address, ":")
        if 0 <= colon < len(address) - 1:
            address = address[colon + 1 :]

    address = list(address)
    if tokens.last_index(address, "@") < 0:
        bang = tokens.first_index(address, "!") if rules.swap_bangpath else -1
        percent = tokens.last_index(address, "%") if rules.percent_hack else -1
        if bang >= 0:
            address = [*address[bang + 1 :], ("@", "@"), *address[:bang]]
        elif percent >= 0:
            address[percent] = ("@", "@")
        elif context.origin:
            address += [("@", "@"), *tokens.scan(context.origin)]

    if context.domain:
        at = tokens.last_index(address, "@")
        domain = address[at + 1 :]
        # A broken form that ends in @ is left alone: what is said of it later is then more accurate.
        if at >= 0 and domain and not any(kind in (LITERAL, ".") for kind, _ in domain):
            address += [(".", "."), *tokens.scan(context.domain)]
    return without_final_dot(address)


def without_final_dot(address: list[Token]) -> list[Token]:
    """``user@domain.`` loses its dot, ``..`` and ``@.`` do not: they are wrong, and stay visibly so."""
    if len(address) > 1 and address[-1][0] == "." and address[-2][0] not in ".@":
        return address[:-1]
    return address
