"""The ESMTP parameters of MAIL and RCPT, understood. Pure.

The replies are Postfix's, so that clients and log readers that know them go on working.
"""

import re
from collections.abc import Iterable
from typing import cast

from tubepost.common.smtp import xtext
from tubepost.common.wire.envelope import Notify

from tubepost.services.smtpd.events import Mail, Rcpt

Pairs = Iterable[tuple[str, str | None]]

# RFC 6152 2, RFC 3030 3
_BODIES = {"7BIT": "7bit", "8BITMIME": "8bit", "BINARYMIME": "binary"}
_NOTIFY = frozenset({"NEVER", "SUCCESS", "FAILURE", "DELAY"})
# RFC 5198 2: nor C1 controls and what some readers take for the end of a line.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_SIZE_LIMIT = 2**63 - 1


class ParameterRefused(Exception):
    """``reply`` is what to say; ``trouble`` the notify_classes class it counts as."""

    def __init__(self, reply: str, trouble: str = "protocol") -> None:
        super().__init__(reply)
        self.reply = reply
        self.trouble = trouble


def read_mail(
    sender: str,
    pairs: Pairs,
    *,
    withheld: frozenset[str],
    smtputf8_enable: bool,
    verp: tuple[str, str] | None = None,
    auth: bool = False,
) -> Mail:
    """MAIL's parameters. ``withheld``: EHLO keywords that this client was not told.

    ``auth``: AUTH= is understood. ``verp``: (default delimiters, characters allowed) for clients that may ask for VERP.
    Raises ParameterRefused.
    """
    size = 0
    delimiters = ""
    encoding = ret = submitter = ""
    envid: str | None = None
    smtputf8 = False
    for name, value in pairs:
        if name == "SIZE":
            # RFC 1870 3: 1*20DIGIT
            if not value or not (value.isascii() and value.isdigit()):
                raise ParameterRefused("501 5.5.4 Bad message size syntax")
            if len(value) > 20 or int(value) > _SIZE_LIMIT:
                raise ParameterRefused("552 5.3.4 Message size exceeds file system imposed limit", "policy")
            size = int(value)
        elif name == "BODY" and value is not None and value.upper() in _BODIES:
            encoding = _BODIES[value.upper()]
            if encoding == "binary" and withheld & {"BINARYMIME", "CHUNKING"}:
                raise ParameterRefused(f"555 5.5.4 Unsupported option: BODY={value}")
        elif name == "SMTPUTF8" and value is None and smtputf8_enable and "SMTPUTF8" not in withheld:
            smtputf8 = True
        elif name == "RET":
            _need_dsn(withheld)
            # RFC 3461 4.3
            if ret or value is None or value.upper() not in ("FULL", "HDRS"):
                raise ParameterRefused("501 5.5.4 Bad RET parameter syntax")
            ret = value.upper()
        elif name == "ENVID":
            _need_dsn(withheld)
            # RFC 3461 4.4
            try:
                if envid is not None or not value:
                    raise ValueError
                envid = xtext.decode(value)
                if _UNPRINTABLE.search(envid):
                    raise ValueError
            except ValueError:
                raise ParameterRefused("501 5.5.4 Bad ENVID parameter syntax") from None
        elif name == "AUTH" and auth and "AUTH" not in withheld:
            submitter = _read_submitter(value)
        elif name == "XVERP" and verp is not None:
            delimiters = verp[0] if value is None else value
            if len(delimiters) != 2 or not set(delimiters) <= set(verp[1]):
                raise ParameterRefused(f"501 5.5.4 Error: XVERP needs two characters from {verp[1]}")
        else:
            raise ParameterRefused(f"555 5.5.4 Unsupported option: {_show(name, value)}")
    if delimiters and not sender:
        raise ParameterRefused("503 5.5.4 Error: XVERP requires non-null sender")
    return Mail(sender, size, encoding, smtputf8, ret, envid or "", delimiters, submitter)


def _read_submitter(value: str | None) -> str:
    """RFC 4954 5: ``<>`` or an address, in xtext. Raises ParameterRefused."""
    try:
        found = xtext.decode(value or "")
    except ValueError:
        found = ""
    if not found or len(found) > 500 or _UNPRINTABLE.search(found):
        raise ParameterRefused("501 5.5.4 Bad AUTH parameter syntax")
    return found


def read_rcpt(address: str, pairs: Pairs, *, withheld: frozenset[str]) -> Rcpt:
    """RCPT's parameters. Raises ParameterRefused."""
    notify: tuple[Notify, ...] = ()
    orcpt = ""
    for name, value in pairs:
        if name == "NOTIFY":
            _need_dsn(withheld)
            # RFC 3461 4.1: NEVER stands alone.
            words = tuple(dict.fromkeys((value or "").upper().split(",")))
            if notify or not set(words) <= _NOTIFY or ("NEVER" in words and len(words) > 1):
                raise ParameterRefused("501 5.5.4 Error: Bad NOTIFY parameter syntax")
            notify = cast("tuple[Notify, ...]", words)
        elif name == "ORCPT":
            _need_dsn(withheld)
            if orcpt:
                raise ParameterRefused("501 5.5.4 Error: Bad ORCPT parameter syntax")
            orcpt = _read_orcpt(value or "")
        else:
            raise ParameterRefused(f"555 5.5.4 Unsupported option: {_show(name, value)}")
    return Rcpt(address, orcpt, notify)


def _read_orcpt(value: str) -> str:
    # RFC 3461 4.2: addr-type ";" xtext; RFC 6533 3 for the type utf-8.
    kind, semicolon, coded = value.partition(";")
    try:
        if not kind or not semicolon or not coded:
            raise ValueError
        if kind.lower() == "utf-8":
            decoded = xtext.decode_utf8_address(coded)
        else:
            decoded = xtext.decode(coded)
        if _UNPRINTABLE.search(decoded):
            raise ValueError
    except ValueError:
        raise ParameterRefused("501 5.5.4 Error: Bad ORCPT parameter syntax") from None
    return f"{kind};{decoded}"


def _need_dsn(withheld: frozenset[str]) -> None:
    if "DSN" in withheld:
        raise ParameterRefused("501 5.7.1 DSN support is disabled")


def _show(name: str, value: str | None) -> str:
    text = name if value is None else f"{name}={value}"
    return text if len(text) <= 100 else text[:100] + "..."
