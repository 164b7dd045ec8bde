"""Settings that are each right and do not go together."""

from collections.abc import Callable, Iterator

from tubepost.common.config.faults import ConfigError
from tubepost.common.config.parameters import Parameters
from tubepost.common.config.values import split

# One of these must end what a stranger may do, or this host relays for everybody (Postfix manual: smtpd(8)).
_CLOSING = frozenset(
    {
        "reject",
        "reject_unauth_destination",
        "defer",
        "defer_if_permit",
        "defer_unauth_destination",
        "check_relay_domains",
    }
)

Finding = tuple[str, str]
"""(name of the parameter to change, what is wrong)."""


def conflicts(config: Parameters) -> Iterator[Finding]:
    """Everything that does not go together. A rule whose values cannot be read is left out: that is a fault already."""
    for rule in _RULES:
        try:
            yield from rule(config)
        except ConfigError:
            continue


def _sizes(config: Parameters) -> Iterator[Finding]:
    message = config.message_size_limit
    for name, limit in (
        ("mailbox_size_limit", config.mailbox_size_limit),
        ("virtual_mailbox_limit", config.virtual_mailbox_limit),
    ):
        if limit and (not message or limit < message):
            yield (
                name,
                f"{limit} is less than message_size_limit ({message or 'no limit'}): some mail would never fit",
            )


def _times(config: Parameters) -> Iterator[Finding]:
    if config.minimal_backoff_time > config.maximal_backoff_time:
        yield "minimal_backoff_time", "it is longer than maximal_backoff_time"
    if config.heartbeat_timeout <= config.heartbeat_interval:
        yield "heartbeat_timeout", "it must be longer than heartbeat_interval, or every program would be killed"


def _pressure(config: Parameters) -> Iterator[Finding]:
    if config.memory_pressure_low > config.memory_pressure_high:
        yield "memory_pressure_low", "it is above memory_pressure_high"
    if config.memory_use_low > config.memory_use_high:
        yield "memory_use_low", "it is above memory_use_high"


def _relaying(config: Parameters) -> Iterator[Finding]:
    words = {
        word.strip("{}")
        for text in (config.smtpd_relay_restrictions, config.smtpd_recipient_restrictions)
        for item in split(text)
        for word in item.split()
    }
    # A class or a table may close as well, but Postfix does not look into them either.
    if not words & _CLOSING:
        yield (
            "smtpd_relay_restrictions",
            "neither it nor smtpd_recipient_restrictions stops strangers from relaying: add reject_unauth_destination",
        )


def _classes(config: Parameters) -> Iterator[Finding]:
    ours = {name.lower() for name in config.mydestination}
    for name, domains in (
        ("virtual_mailbox_domains", config.virtual_mailbox_domains),
        ("virtual_alias_domains", config.virtual_alias_domains),
    ):
        for domain in domains:
            if domain.lower() in ours:
                yield name, f"{domain} is in mydestination too: only one of the two can have its mail"


def _log(config: Parameters) -> Iterator[Finding]:
    if config.maillog_file and not config.maillog_file.startswith(config.maillog_file_prefixes):
        yield (
            "maillog_file",
            f"it begins with none of maillog_file_prefixes ({', '.join(config.maillog_file_prefixes)})",
        )


_RULES: tuple[Callable[[Parameters], Iterator[Finding]], ...] = (_sizes, _times, _pressure, _relaying, _classes, _log)
