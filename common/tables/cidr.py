"""``cidr:/path``: networks, tried in order (Postfix cidr_table(5)).

``network/prefix result``, ``!network/prefix result``, ``if network`` … ``endif``; IPv4 and IPv6, in ``[ ]`` or not. A
key that is no address matches nothing, not even a negated pattern.
"""

from functools import partial
from ipaddress import ip_address

from tubepost.common.tables.network import Network, parse_network
from tubepost.common.tables.rules import Pattern, Rule, RuleTable, read_rules
from tubepost.common.tables.table import Table, TableEnvironment
from tubepost.common.tables.words import SyntaxFault


class CidrTable(RuleTable):
    __slots__ = ()

    def _find(self, key: str) -> str | None:
        try:
            address = ip_address(key)
        except ValueError:
            return None
        version, number = address.version, int(address)
        rules = self.rules
        position = 0
        while position < len(rules):
            rule: Rule = rules[position]
            if bool(rule.test((version, number))) == rule.negated:  # type: ignore[arg-type]
                position = rule.skip_to
            elif rule.value is None:
                position += 1
            else:
                return rule.value
        return None


def _contains(network: Network, address: tuple[int, int]) -> bool:
    version, number, mask = network
    return address[0] == version and address[1] & mask == number


def parse(line: str) -> Pattern:
    """The pattern at the start of a line. Raises SyntaxFault."""
    negated = False
    while line.startswith("!"):
        negated = not negated
        line = line[1:].lstrip()
    parts = line.split(None, 1)
    if not parts:
        raise SyntaxFault("no address pattern")
    network = parse_network(parts[0])
    return Pattern(partial(_contains, network), negated, 0, parts[1] if len(parts) > 1 else "")


def open_table(kind: str, name: str, environment: TableEnvironment, fold: bool) -> Table:
    """See registry.Opener."""
    return CidrTable(kind, name, environment, read_rules(kind, name, environment, lambda line: True, parse, False))
