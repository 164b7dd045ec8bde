"""From main.cf to what the parts of the client need: plain values made once."""

import socket
from dataclasses import replace

from tubepost.common.smtp.extensions import parse_discard
from tubepost.common.config import Config
from tubepost.common.config.host import listening_interfaces, protocol_versions

from tubepost.services.smtp.connection import Timing
from tubepost.services.smtp.hosts import Rules
from tubepost.services.smtp.server import Manner
from tubepost.services.smtp.stages import Stage


def manner(config: Config, lmtp: bool) -> Manner:
    return Manner(
        hostname=config.myhostname,
        helo_name=config.smtp_helo_name,
        lmtp=lmtp,
        always_ehlo=lmtp or config.smtp_always_send_ehlo,
        never_ehlo=not lmtp and config.smtp_never_send_ehlo,
        skip_5xx_greeting=config.smtp_skip_5xx_greeting,
        quote=config.smtp_quote_rfc821_envelope,
        convert=not config.disable_mime_output_conversion,
        xforward=config.smtp_send_xforward_command,
        probe_to_data=config.smtp_address_verify_target == "data",
        pix=frozenset(config.smtp_pix_workarounds),
    )


def timing(config: Config) -> Timing:
    return Timing(
        {stage: getattr(config, stage.timeout) for stage in Stage},
        deadlines=config.smtp_per_request_deadline,
        rate=config.smtp_min_data_rate,
    )


def rules(config: Config, lmtp: bool) -> Rules:
    """Raises ConfigError."""
    own = {str(interface.ip) for interface in listening_interfaces(config)}
    own |= {address.strip("[]") for address in config.proxy_interfaces}
    dns = not config.disable_dns_lookups
    return Rules(
        dns=dns,
        lookup_dns="dns" in config.smtp_host_lookup,
        lookup_native="native" in config.smtp_host_lookup,
        versions=tuple(sorted(protocol_versions(config))),
        shuffle=config.smtp_randomize_addresses,
        prefer=config.smtp_address_preference,
        limit=config.smtp_mx_address_limit,
        balance=config.smtp_balance_inet_protocols,
        ignore_mx_error=config.ignore_mx_lookup_error,
        defer_without_address=config.smtp_defer_if_no_mx_address_found,
        own=frozenset(own),
        lmtp=lmtp,
    )


def bind_addresses(config: Config) -> dict[int, str]:
    """IP version to the address that connections come from (smtp_bind_address, smtp_bind_address6).

    Without one, a host that serves just one address of a family speaks from that one (Postfix: virtual interfaces).
    Raises ConfigError.
    """
    found = {}
    for version, text, name in (
        (4, config.smtp_bind_address, "smtp_bind_address"),
        (6, config.smtp_bind_address6, "smtp_bind_address6"),
    ):
        address = text.strip().removeprefix("[").removesuffix("]")
        if address:
            try:
                socket.inet_pton(socket.AF_INET if version == 4 else socket.AF_INET6, address)
            except OSError:
                raise config.bad_value(name, f'"{text}" is no IPv{version} address') from None
            found[version] = address
    if config.inet_interfaces and config.raw("inet_interfaces") not in ("all", "loopback-only"):
        for version in {4, 6} - set(found):
            own = [interface for interface in listening_interfaces(config) if interface.version == version]
            if len(own) == 1 and not own[0].is_loopback:
                found[version] = str(own[0].ip)
    return found


def discarded(text: str) -> tuple[frozenset[str], bool]:
    """EHLO keywords to ignore, and whether to be silent about it."""
    keywords, silent, _ = parse_discard(text)
    return keywords, silent


def with_pix(manner: Manner, text: str) -> Manner:
    """The workarounds of smtp_pix_workaround_maps for one server."""
    words = frozenset(text.replace(",", " ").lower().split())
    return replace(manner, pix=words & {"disable_esmtp", "delay_dotcrlf"})
