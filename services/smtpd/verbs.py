"""One function a verb: its arguments read, and an event made of them. Pure.

A function answers mistakes of the client itself and then returns None; it changes no transaction, the machine does.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from tubepost.common.smtp import command
from tubepost.common.smtp.command import AddressError, CommandError

from tubepost.services.smtpd import authentication, events, parameters, xclient
from tubepost.services.smtpd.events import Event
from tubepost.services.smtpd.ledger import UNPRINTABLE
from tubepost.services.smtpd.tables import BDAT_OUT_OF_ORDER, VERBS, State

if TYPE_CHECKING:
    from tubepost.services.smtpd.protocol import Machine

_NUMBER = re.compile(r"[0-9]{1,18}")


def _helo(machine: "Machine", rest: str) -> Event | None:
    return _any_helo(machine, rest, "HELO")


def _ehlo(machine: "Machine", rest: str) -> Event | None:
    return _any_helo(machine, rest, "EHLO")


def _any_helo(machine: "Machine", rest: str, verb: str) -> Event | None:
    if not rest:
        machine.wrong(f"501 Syntax: {verb} hostname", "protocol")
        return None
    return events.Helo(xclient.neuter(rest), verb == "EHLO")


def _mail(machine: "Machine", rest: str) -> Event | None:
    settings = machine.settings
    if settings.helo_required and not machine.helo:
        machine.wrong("503 5.5.1 Error: send HELO/EHLO first", "policy")
        return None
    try:
        path = command.parse_path_command(rest, "FROM:", strict=settings.strict_rfc821_envelopes)
        mail = parameters.read_mail(
            path.address,
            path.parameters,
            withheld=machine.withheld,
            smtputf8_enable=settings.smtputf8_enable,
            auth=machine.auth_active and (machine.tls_active or not settings.tls_auth_only),
            verp=(settings.verp_delimiters, settings.verp_delimiter_filter) if machine.verp_allowed else None,
        )
    except AddressError as error:
        _illegal_address(machine, rest, error)
        machine.wrong("501 5.1.7 Bad sender address syntax", "protocol")
        return None
    except CommandError:
        machine.wrong("501 5.5.4 Syntax: MAIL FROM:<address>", "protocol")
        return None
    except parameters.ParameterRefused as refused:
        machine.wrong(refused.reply, refused.trouble)
        return None
    if not mail.sender.isascii() and not _may_be_unicode(machine, mail.sender, mail.smtputf8, "501 5.1.7 Bad sender"):
        return None
    if settings.message_size_limit and mail.size > settings.message_size_limit:
        # RFC 1870 6.1
        reply = "552 5.3.4 Message size exceeds fixed limit"
        machine.log_reject(reply, sender=mail.sender)
        machine.wrong(reply, "policy")
        return None
    return mail


def _rcpt(machine: "Machine", rest: str) -> Event | None:
    settings = machine.settings
    try:
        path = command.parse_path_command(rest, "TO:", strict=settings.strict_rfc821_envelopes)
        if not path.address:
            raise AddressError("a recipient must not be empty")
        rcpt = parameters.read_rcpt(path.address, path.parameters, withheld=machine.withheld)
    except AddressError as error:
        _illegal_address(machine, rest, error)
        machine.wrong("501 5.1.3 Bad recipient address syntax", "protocol")
        return None
    except CommandError:
        machine.wrong("501 5.5.4 Syntax: RCPT TO:<address>", "protocol")
        return None
    except parameters.ParameterRefused as refused:
        machine.wrong(refused.reply, refused.trouble)
        return None
    limit = settings.recipient_limit
    if limit and len(machine.recipients) >= limit:
        # RFC 5321 4.5.3.1.10
        machine.overshoot += 1
        reply = "452 4.5.3 Error: too many recipients"
        if machine.overshoot <= settings.recipient_overshoot_limit:
            machine.ok("RCPT", reply)
        else:
            machine.wrong(reply, "policy")
        return None
    if not rcpt.address.isascii() and not _may_be_unicode(
        machine, rcpt.address, machine.smtputf8, "501 5.1.3 Bad recipient"
    ):
        return None
    return rcpt


def _may_be_unicode(machine: "Machine", address: str, declared: bool, wrong: str) -> bool:
    # RFC 6531 3.5
    if declared:
        return True
    if machine.settings.strict_smtputf8:
        machine.wrong("553 5.6.7 Must declare SMTPUTF8 to send unicode address")
        return False
    # A domain outside ASCII can go nowhere without SMTPUTF8; a local part outside ASCII is let pass, as in Postfix.
    if not address.rpartition("@")[2].isascii():
        machine.wrong(f"{wrong} address syntax", "protocol")
        return False
    return True


def _illegal_address(machine: "Machine", rest: str, error: AddressError) -> None:
    shown = UNPRINTABLE.sub("?", rest[:100])
    machine.logs.append(
        ("warning", f"Illegal address syntax from {machine.client} in {machine.where} command: {shown} ({error})")
    )


def _data_verb(machine: "Machine", rest: str) -> Event | None:
    if rest:
        machine.wrong("501 5.5.4 Syntax: DATA", "protocol")
        return None
    if machine.encoding == "binary":
        # RFC 3030 3: a BINARYMIME message cannot be sent with DATA.
        machine.wrong("503 5.5.1 Error: BODY=BINARYMIME requires BDAT", "protocol")
        return None
    return events.Data()


def _bdat(machine: "Machine", rest: str) -> Event | None:
    if "CHUNKING" in machine.withheld:
        machine.wrong("521 5.5.1 Error: command not implemented", "protocol")
        machine.close()
        return None
    words = rest.split()
    last = len(words) == 2 and words[1].upper() == "LAST"
    if not 1 <= len(words) <= 2 or (len(words) == 2 and not last) or not _NUMBER.fullmatch(words[0]):
        shown = UNPRINTABLE.sub("?", rest[:100])
        machine.logs.append(("warning", f"NOQUEUE: malformed BDAT command syntax from {machine.client}: {shown}"))
        # What follows cannot be told from content: nothing but the end is safe.
        machine.wrong("521 5.5.4 Syntax: BDAT count [LAST]", "protocol")
        machine.close()
        return None
    size = int(words[0])
    if not size and not last:
        machine.logs.append(("warning", f"NOQUEUE: null BDAT request from {machine.client}"))
        machine.skip(size, last, "551 5.7.1 Null BDAT request")
        return None
    if machine.state is State.BROKEN:
        machine.skip(size, last, f"551 5.0.0 Discarded {size} bytes after earlier error")
        return None
    out_of_order = BDAT_OUT_OF_ORDER.get(machine.state)
    if out_of_order is not None:
        machine.troubles.add("protocol")
        machine.skip(size, last, out_of_order)
        return None
    machine.chunk_size, machine.chunk_last = size, last
    if machine.state is State.RCPT:
        return events.Data(chunking=True)
    machine.begin_chunk()
    return None


def _rset(machine: "Machine", rest: str) -> Event | None:
    if rest:
        machine.wrong("501 5.5.4 Syntax: RSET", "protocol")
        return None
    machine.reset_transaction()
    machine.ok("RSET", "250 2.0.0 Ok")
    return events.Reset()


def _noop(machine: "Machine", _rest: str) -> Event | None:
    # RFC 5321 4.1.1.9: a parameter is ignored.
    machine.ok("NOOP", "250 2.0.0 Ok")
    return None


def _vrfy(machine: "Machine", rest: str) -> Event | None:
    settings = machine.settings
    if settings.disable_vrfy_command:
        machine.wrong("502 5.5.1 VRFY command is disabled", "policy")
        return None
    text, smtputf8 = rest, False
    if settings.smtputf8_enable and "SMTPUTF8" not in machine.withheld:
        # RFC 6531 3.7.4.2
        words = rest.rsplit(None, 1)
        if words and words[-1].upper() == "SMTPUTF8":
            text, smtputf8 = (words[0] if len(words) > 1 else ""), True
    if not text:
        suffix = " [SMTPUTF8]" if settings.smtputf8_enable else ""
        machine.wrong(f"501 5.5.4 Syntax: VRFY address{suffix}", "protocol")
        return None
    try:
        address = command.parse_path(text)
    except AddressError:
        address = ""
    if not address:
        machine.wrong("501 5.1.3 Bad recipient address syntax", "protocol")
        return None
    if not address.isascii() and not smtputf8 and settings.strict_smtputf8:
        machine.wrong("553 5.6.7 Must declare SMTPUTF8 to send unicode address")
        return None
    return events.Vrfy(address, smtputf8, text)


def _etrn(machine: "Machine", rest: str) -> Event | None:
    if machine.settings.helo_required and not machine.helo:
        machine.wrong("503 Error: send HELO/EHLO first", "policy")
        return None
    words = rest.split()
    if len(words) != 1:
        machine.wrong("500 Syntax: ETRN domain", "protocol")
        return None
    # RFC 1985 5.3: "@" and "#" are prefixes of the argument.
    domain = words[0][1:] if words[0][0] in "@#" else words[0]
    if not xclient.is_hostname(domain) and not command.is_address_literal(domain):
        machine.wrong("501 Error: invalid parameter syntax", "protocol")
        return None
    return events.Etrn(domain)


def _quit(machine: "Machine", _rest: str) -> Event | None:
    machine.ok("QUIT", "221 2.0.0 Bye")
    machine.close()
    return None


def _help(machine: "Machine", _rest: str) -> Event | None:
    absent = {"STARTTLS"} if not machine.tls_offered else set()
    if not machine.auth_active:
        absent.add("AUTH")
    machine.ok("HELP", f"214 2.0.0 Commands: {' '.join(sorted(VERBS.keys() - absent))}")
    return None


def _xclient(machine: "Machine", rest: str) -> Event | None:
    if rest and not machine.xclient_allowed:
        machine.wrong("550 5.7.0 Error: insufficient authorization", "policy")
        return None
    try:
        return events.Xclient(xclient.read_xclient(rest))
    except xclient.AttributeRefused as refused:
        machine.wrong(refused.reply, "protocol")
        return None


def _xforward(machine: "Machine", rest: str) -> Event | None:
    if rest and not machine.xforward_allowed:
        machine.wrong("550 5.7.0 Error: insufficient authorization", "policy")
        return None
    try:
        return events.Xforward(xclient.read_xforward(rest))
    except xclient.AttributeRefused as refused:
        machine.wrong(refused.reply, "protocol")
        return None


HANDLERS: "dict[str, Callable[[Machine, str], Event | None]]" = {
    "HELO": _helo,
    "EHLO": _ehlo,
    "STARTTLS": authentication.starttls,
    "AUTH": authentication.auth,
    "MAIL": _mail,
    "RCPT": _rcpt,
    "DATA": _data_verb,
    "BDAT": _bdat,
    "RSET": _rset,
    "NOOP": _noop,
    "VRFY": _vrfy,
    "ETRN": _etrn,
    "QUIT": _quit,
    "HELP": _help,
    "XCLIENT": _xclient,
    "XFORWARD": _xforward,
}
