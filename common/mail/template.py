"""The texts of reports: the format of Postfix's bounce(5), and what is built in. Pure."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

_NAMES = ("failure_template", "delay_template", "success_template", "verify_template")
_START = re.compile(r"\s*([A-Za-z0-9_]+)\s*=\s*<<\s*(\S+)\s*")
_HEADER = re.compile(r"([A-Za-z0-9-]+)[ \t]*:[ \t]*(.*)")
_TIMES = re.compile(r"\$\$|\$(?:(?P<plain>[A-Za-z0-9_]+)|\((?P<round>[A-Za-z0-9_]+)\)|\{(?P<curly>[A-Za-z0-9_]+)\})")
_UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400, "weeks": 604800}
_FIELDS = {"charset": "charset", "from": "sender", "subject": "subject", "postmaster-subject": "postmaster_subject"}


@dataclass(frozen=True, slots=True)
class Template:
    """``text`` ends with LF; its references are not expanded yet. ``postmaster_subject``: of copies."""

    charset: str
    sender: str
    subject: str
    postmaster_subject: str
    text: str


_SENDER = "MAILER-DAEMON (Mail Delivery System)"
BUILT_IN = {
    "failure_template": Template(
        "us-ascii",
        _SENDER,
        "Undelivered Mail Returned to Sender",
        "Postmaster Copy: Undelivered Mail",
        """\
This is the mail system at host $myhostname.

Your message did not reach the recipients that are named below. For
each of them the reason is given. No further attempt will be made.
What you sent is attached.

If you need help with this, write to the postmaster and enclose this
report; your own text may be left out of it.
""",
    ),
    "delay_template": Template(
        "us-ascii",
        _SENDER,
        "Delayed Mail (still being retried)",
        "Postmaster Warning: Delayed Mail",
        """\
This is the mail system at host $myhostname.

*** This is only a warning. There is no need to send the message again. ***

For more than $delay_warning_time_hours hour(s) your message could not be
delivered to the recipients that are named below. Attempts go on until the
message is $maximal_queue_lifetime_days day(s) old; then it is returned to you.

If you need help with this, write to the postmaster and enclose this
report.
""",
    ),
    "success_template": Template(
        "us-ascii",
        _SENDER,
        "Successful Mail Delivery Report",
        "Postmaster Copy: Successful Mail Delivery Report",
        """\
This is the mail system at host $myhostname.

You asked to be told when your message arrives. This is what became of it
for the recipients that are named below. Where it was put into a mailbox
this is the last that you hear of it; where it was handed on, another system
may still report that it could not deliver it.
""",
    ),
    "verify_template": Template(
        "us-ascii",
        _SENDER,
        "Mail Delivery Status Report",
        "Postmaster Copy: Mail Delivery Status Report",
        """\
This is the mail system at host $myhostname.

This is the report on delivery that you asked for.
""",
    ),
}


def parse(source: str) -> tuple[dict[str, Template], list[str]]:
    """All four templates, those that ``source`` does not define as built in; and complaints, one line of text each."""
    found = dict(BUILT_IN)
    complaints: list[str] = []
    lines = iter(enumerate(source.splitlines(), 1))
    for number, line in lines:
        # bounce(5): outside a template, comments and empty lines mean nothing.
        if not line.strip() or line.startswith("#"):
            continue
        match = _START.fullmatch(line)
        if match is None:
            complaints.append(f"line {number}: neither 'template_name = <<word' nor a comment: ignored")
            continue
        name, end = match[1], match[2]
        body: list[str] = []
        for _, inner in lines:
            if inner.rstrip() == end:
                break
            body.append(inner)
        else:
            complaints.append(f"line {number}: {name} does not end: there is no line {end!r}")
            continue
        if name not in _NAMES:
            complaints.append(f"line {number}: unknown template {name}: one of {', '.join(_NAMES)} is expected")
            continue
        template, faults = _template(body, found[name])
        found[name] = template
        complaints += [f"{name} in line {number}: {fault}" for fault in faults]
    return found, complaints


def _template(lines: list[str], base: Template) -> tuple[Template, list[str]]:
    """Headers, an optional empty line, text. What a header does not say stays as in ``base``."""
    faults: list[str] = []
    changes: dict[str, str] = {}
    place = 0
    for place, line in enumerate(lines):  # noqa: B007
        match = _HEADER.fullmatch(line)
        if match is None:
            break
        name = _FIELDS.get(match[1].lower())
        value = match[2].strip()
        if name is None:
            faults.append(f"unknown header {match[1]}: ignored")
        elif not value.isascii() or not value.isprintable():
            faults.append(f"header {match[1]} has other than printable ASCII characters: ignored")
        elif not value:
            faults.append(f"header {match[1]} is empty: ignored")
        else:
            changes[name] = value
    else:
        place = len(lines)
    if place < len(lines) and not lines[place].strip():
        place += 1
    text = "\n".join(lines[place:])
    return replace(base, text=f"{text}\n" if text else "", **changes), faults


def write(name: str, template: Template) -> str:
    """The template as ``parse`` reads it, with its final LF."""
    lines = [
        f"Charset: {template.charset}",
        f"From: {template.sender}",
        f"Subject: {template.subject}",
        f"Postmaster-Subject: {template.postmaster_subject}",
        "",
    ]
    return here("\n".join(lines) + f"\n{template.text}", name)


def here(text: str, name: str) -> str:
    """``text``, which ends with LF, between ``name = <<word`` and the word: EOF, unless that is one of its lines."""
    word = "EOF"
    lines = {line.rstrip() for line in text.splitlines()}
    while word in lines:
        word += "_"
    return f"{name} = <<{word}\n{text}{word}\n"


def expand_times(text: str, seconds: Callable[[str], float | None]) -> str:
    """Replace ``$delay_warning_time_hours`` and its like; ``seconds``: a parameter's value, None for other names.

    All other references, and ``$$``, are left as they are.
    """

    def value(match: re.Match[str]) -> str:
        name = match["plain"] or match["round"] or match["curly"]
        if not name:
            return match[0]
        parameter, _, unit = name.rpartition("_")
        if unit not in _UNITS or parameter not in ("delay_warning_time", "maximal_queue_lifetime"):
            return match[0]
        number = seconds(parameter)
        return match[0] if number is None else str(int(number // _UNITS[unit]))

    return _TIMES.sub(value, text)
