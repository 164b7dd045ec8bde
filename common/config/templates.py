"""The texts of reports as this system has them: bounce_template_file read, and its references filled in (bounce(5))."""

from dataclasses import replace

from tubepost.common.mail import template
from tubepost.common.mail.template import Template
from tubepost.common.config.faults import ConfigError
from tubepost.common.config.settings import Config

_PARAMETER = "bounce_template_file"


def read(path: str) -> tuple[dict[str, Template], list[str]]:
    """All templates, with their references; the built-in ones for an empty ``path``. And complaints, a line each.

    Raises OSError.
    """
    if not path:
        return dict(template.BUILT_IN), []
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return template.parse(file.read())


def fill(config: Config, one: Template) -> Template:
    """With main.cf's parameters in its text, and our names in Unicode where mail may have it. Raises ConfigError."""
    times = {
        "delay_warning_time": config.delay_warning_time,
        "maximal_queue_lifetime": config.maximal_queue_lifetime,
    }
    text = template.expand_times(one.text, times.get)
    names = {}
    if config.smtputf8_enable:
        names = {key: _unicode(config.expanded(key)) for key in ("myhostname", "mydomain")}
    return replace(one, text=config.with_overrides(names).expand(text, _PARAMETER))


def load(config: Config) -> tuple[dict[str, Template], list[str]]:
    """bounce_template_file, filled in; what cannot be is as built in. And complaints. Raises ConfigError."""
    path = config.bounce_template_file
    try:
        found, faults = read(path)
    except OSError as error:
        raise config.bad_value(_PARAMETER, f"cannot read {path}: {error.strerror}") from None
    complaints = [f"{_PARAMETER} {path}: {fault}" for fault in faults]
    filled = {}
    for name, one in found.items():
        try:
            filled[name] = fill(config, one)
        except ConfigError as error:
            complaints.append(f"{_PARAMETER}: {name}: {error}; the built-in text is used")
            filled[name] = fill(config, template.BUILT_IN[name])
    return filled, complaints


def _unicode(domain: str) -> str:
    """A domain with its ACE labels decoded, where they can be."""
    if "xn--" not in domain.lower():
        return domain
    try:
        return domain.encode("ascii").decode("idna")
    except UnicodeError:
        return domain
