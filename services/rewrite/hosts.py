"""Which domains of an address are well formed. Pure. RFC 1123 2.1, RFC 5321 4.1.2 and 4.1.3, RFC 5890."""

import re
import unicodedata
from ipaddress import ip_address

from tubepost.common.tables.match import literal_address

# An underscore is no letter of host names, and is in use; Postfix allows it too.
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_NAME_LIMIT = 255
_LABEL_LIMIT = 63


def is_host_name(name: str, smtputf8: bool) -> bool:
    """A domain name that mail may be sent to: not an address in numbers, not empty, no empty label."""
    if not name:
        return False
    if not name.isascii():
        return smtputf8 and _is_unicode_name(name)
    if len(name) > _NAME_LIMIT:
        return False
    # RFC 1123 2.1: a name of digits and dots only would be taken for an address.
    if not name.strip("0123456789."):
        return False
    return all(_LABEL.fullmatch(label) for label in name.split("."))


def _is_unicode_name(name: str) -> bool:
    encoded = []
    for label in re.split("[.\u3002\uff0e\uff61]", name):
        if label.isascii():
            ascii_label = label
        else:
            # The check of code points is the resolver's (RFC 5891 5.4); length and form are checked here.
            if len(label) > _LABEL_LIMIT or not all(map(_is_letter, label)):
                return False
            ascii_label = "xn--" + label.casefold().encode("punycode").decode("ascii")
        encoded.append(ascii_label)
    return len(".".join(encoded)) <= _NAME_LIMIT and all(_LABEL.fullmatch(label) for label in encoded)


def _is_letter(char: str) -> bool:
    # Middle dot and joiners: RFC 5892 appendix A, letters of some scripts' names.
    return char.isalnum() or char in "-_\u00b7\u200c\u200d" or unicodedata.category(char).startswith("M")


def is_address(name: str) -> bool:
    """A bare IPv4 or IPv6 address."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return "%" not in name


def is_literal(domain: str) -> bool:
    """``[192.0.2.1]`` or ``[IPv6:2001:db8::1]``: RFC 5321 4.1.3."""
    return literal_address(domain) is not None
