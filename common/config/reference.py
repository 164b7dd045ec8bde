"""Writes docs/parameters.md, the page of all declarations: ``python -m tubepost.common.config.reference``."""

import sys
from collections.abc import Iterator

from tubepost.common.config import transports
from tubepost.common.config.declare import AnyParameter, Choice, Integer, List, Size, Time, declarations
from tubepost.common.config.parameters import SUBJECTS
from tubepost.common.config.parameters.lmtp import LMTP, TWINS
from tubepost.common.config.parameters.tls import FOLLOWERS, PREFIXES
from tubepost.common.config.settings import DECLARED

_OPENING = """\
# Parameters

Made by `python -m tubepost.common.config.reference`; do not edit. Names and meanings are Postfix's; those marked
**own** are not in Postfix. A default in words is worked out on this host. Times: a number and s, m, h, d or w.

"""


def page() -> str:
    """The whole page as Markdown."""
    return _OPENING + "".join(_sections())


def _sections() -> Iterator[str]:
    yield f"{len(DECLARED)} parameters, and {len(transports.SUFFIXES)} more for each transport.\n"
    for subject in SUBJECTS:
        module = sys.modules[subject.__module__]
        yield f"\n## {(module.__doc__ or subject.__name__).strip().splitlines()[0].rstrip('.')}\n\n"
        yield _HEAD
        for parameter in declarations(subject):
            yield _row(parameter)
    yield "\n## LMTP: the twins of the smtp_ parameters, where the default or the name differs\n\n"
    yield _HEAD
    for name, parameter in LMTP.items():
        twin = DECLARED[TWINS[name]]
        if parameter.default != twin.default or name != "lmtp_" + twin.name.removeprefix("smtp_"):
            yield _row(parameter)
    same = [
        f"`{name}`"
        for name, parameter in LMTP.items()
        if parameter.default == DECLARED[TWINS[name]].default and name == "lmtp_" + TWINS[name].removeprefix("smtp_")
    ]
    yield f"\nWith the defaults of their twins: {', '.join(same)}.\n"
    yield f"\n## TLS of {', '.join(PREFIXES)}: as the smtpd_ parameters, whose values they have by default\n\n"
    yield f"{', '.join(f'`{name}`' for name in FOLLOWERS)}.\n"
    yield "\n## For each transport of master.cf: `<transport>_<suffix>`\n\n"
    yield _HEAD
    for suffix, parameter in transports.SUFFIXES.items():
        yield _row(parameter, f"_{suffix}")


_HEAD = "| parameter | kind | default | what |\n|---|---|---|---|\n"


def _row(parameter: AnyParameter, name: str = "") -> str:
    own = "" if parameter.postfix else " **own**"
    default = parameter.default if parameter.computed else f"`` {parameter.default} ``" if parameter.default else ""
    cells = (f"`{name or parameter.name}`{own}", _kind(parameter), default, parameter.doc)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _kind(parameter: AnyParameter) -> str:
    """The kind, with its bounds or choices."""
    kind = parameter.kind
    if isinstance(parameter, Choice):
        return f"{kind} {', '.join(parameter.choices)}"
    if isinstance(parameter, List) and parameter.choices:
        return f"{kind} of {', '.join(parameter.choices)}"
    if isinstance(parameter, (Integer, Time)):
        unit = " s" if isinstance(parameter, Time) else ""
        low = f" ≥ {parameter.low:.0f}{unit}" if parameter.low and not isinstance(parameter, Size) else ""
        high = f" ≤ {parameter.high:.0f}{unit}" if parameter.high else ""
        return f"{kind}{low}{high}"
    return kind


if __name__ == "__main__":
    sys.stdout.write(page())
