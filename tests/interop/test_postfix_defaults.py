"""Our defaults against those of Postfix on this machine: what differs is listed here, with the reason."""

import shutil
import subprocess

import pytest

from tubepost.common.config import DECLARED

REAL = shutil.which("postconf", path="/usr/sbin:/sbin:/usr/local/sbin")

pytestmark = pytest.mark.skipif(REAL is None, reason="Postfix's postconf is not installed")

OURS = {
    # Other places, another name.
    *("config_directory", "queue_directory", "data_directory", "mail_owner", "mail_name", "mail_version"),
    *("alias_maps", "alias_database", "command_directory", "setgid_group"),
    # 50 MiB, and mailboxes to match.
    *("message_size_limit", "mailbox_size_limit", "virtual_mailbox_limit"),
    # A process serves many clients at a time, not one: a hundred would be used up at once.
    "max_use",
    # As Postfix with the newest compatibility_level, which does not exist here.
    *("mynetworks_style", "relay_domains", "smtputf8_enable", "append_dot_mydomain", "smtpd_relay_restrictions"),
    "smtpd_relay_before_recipient_restrictions",
    # As Postfix 3.9 and later.
    *("smtpd_forbid_bare_newline", "smtpd_forbid_unauth_pipelining"),
    # Queue ids that a log can be searched for.
    "enable_long_queue_ids",
    # They name parameters of older Postfix, or of programs that are not here.
    *("syslog_name", "smtpd_per_request_deadline", "smtp_per_request_deadline", "lmtp_per_request_deadline"),
    *("smtpd_client_event_limit_exceptions", "smtpd_authorized_verp_clients", "virtual_alias_maps"),
    *("smtp_fallback_relay", "proxy_read_maps", "proxy_write_maps", "parent_domain_matches_subdomains"),
    "import_environment",
    # What is broken since 2021 (RFC 8996) is not offered, and MD5 never was a fingerprint here.
    *(f"{program}_tls_{kind}protocols" for program in ("smtpd", "smtp", "lmtp") for kind in ("", "mandatory_")),
    *(f"{program}_tls_fingerprint_digest" for program in ("smtpd", "smtp", "lmtp")),
    # A password within TLS is what everybody expects; EXTERNAL is offered to those alone who can use it.
    *("smtp_sasl_tls_security_options", "lmtp_sasl_tls_security_options", "smtpd_sasl_mechanism_filter"),
    # No program of its own is needed for it here.
    *("smtp_tls_connection_reuse", "lmtp_tls_connection_reuse"),
    # No tarpits while slots are short: each would hold one.
    "smtpd_error_sleep_time",
    # There is no Berkeley DB.
    "address_verify_map",
}
# Younger than the Postfix of some distributions.
YOUNG = {"maillog_file_permissions", "smtpd_client_ipv4_prefix_length", "smtpd_client_ipv6_prefix_length"}


def test_defaults() -> None:
    assert REAL is not None
    out = subprocess.run([REAL, "-d"], capture_output=True, text=True, timeout=30, check=True).stdout
    theirs = {name.strip(): text.strip() for name, _, text in (line.partition("=") for line in out.splitlines())}
    mine = {
        name: " ".join(parameter.default.split())
        for name, parameter in DECLARED.items()
        if parameter.postfix and parameter.computed is None
    }
    assert sorted(mine.keys() - theirs.keys() - YOUNG) == []
    assert {name: text for name, text in mine.items() if name not in OURS | YOUNG and text != theirs[name]} == {}


def test_our_own_names_are_not_postfix_s() -> None:
    assert REAL is not None
    out = subprocess.run([REAL, "-dH"], capture_output=True, text=True, timeout=30, check=True).stdout
    assert {name for name, parameter in DECLARED.items() if not parameter.postfix} & set(out.split()) == set()
