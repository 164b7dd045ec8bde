"""What the SMTP machine needs of main.cf, as plain values. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Settings:
    """One a process. Names as in main.cf without the ``smtpd_`` prefix; sizes in bytes, times in seconds."""

    myhostname: str
    mail_name: str = "tubepost"
    banner: str = ""
    """What stands behind ``220``; empty: ``$myhostname ESMTP $mail_name``."""
    message_size_limit: int = 52_428_800
    """0: none."""
    line_length_limit: int = 2048
    recipient_limit: int = 1000
    recipient_overshoot_limit: int = 1000
    soft_error_limit: int = 10
    hard_error_limit: int = 20
    junk_command_limit: int = 100
    error_sleep_time: float = 1.0
    helo_required: bool = False
    strict_rfc821_envelopes: bool = False
    disable_vrfy_command: bool = False
    smtputf8_enable: bool = True
    strict_smtputf8: bool = False
    soft_bounce: bool = False
    forbid_bare_newline: str = "normalize"
    forbid_bare_newline_reject_code: int = 550
    forbid_unauth_pipelining: bool = True
    replace_stray_cr: bool = True
    history_flush_threshold: int = 100
    keep_history: bool = True
    """False when notify_classes names nothing that a session can cause."""
    tls_auth_only: bool = False
    sasl_response_limit: int = 12288
    broken_sasl_auth_clients: bool = False
    verp_delimiters: str = "+="
    verp_delimiter_filter: str = "-=+"
    command_filter: Callable[[str], str | None] | None = None
    """smtpd_command_filter: another line in place of this one, or None. May raise LookupError: cannot tell now."""
    is_noop: Callable[[str], bool] | None = None
    """Does smtpd_noop_commands name this verb?"""
    is_forbidden: Callable[[str], bool] | None = None
    """Does smtpd_forbidden_commands name this (unknown) verb?"""
    ehlo_replies: dict[tuple[object, ...], tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    """EHLO's replies that were made so far, with their lines for the transcript: by what may differ in them."""

    def __post_init__(self) -> None:
        if not self.banner:
            self.banner = f"{self.myhostname} ESMTP {self.mail_name}"
