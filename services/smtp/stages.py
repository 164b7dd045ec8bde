"""The stages of an SMTP or LMTP conversation, in the words that log lines and bounces use. Pure."""

import enum
from dataclasses import dataclass


class Stage(enum.Enum):
    """What reply is awaited. ``words``: while …; ``request``: in reply to …; ``timeout``: the parameter."""

    GREETING = ("receiving the initial server greeting", "", "smtp_helo_timeout")
    EHLO = ("performing the EHLO handshake", "EHLO command", "smtp_helo_timeout")
    HELO = ("performing the HELO handshake", "HELO command", "smtp_helo_timeout")
    STARTTLS = ("sending STARTTLS", "STARTTLS command", "smtp_starttls_timeout")
    AUTH = ("sending AUTH", "AUTH command", "smtp_helo_timeout")
    LHLO = ("performing the LHLO handshake", "LHLO command", "smtp_helo_timeout")
    XFORWARD_NAME = ("sending XFORWARD name/address", "XFORWARD name/address command", "smtp_xforward_timeout")
    XFORWARD_PROTO = (
        "sending XFORWARD protocol/helo_name",
        "XFORWARD helo/protocol command",
        "smtp_xforward_timeout",
    )
    RSET = ("sending RSET probe", "RSET probe", "smtp_rset_timeout")
    MAIL = ("sending MAIL FROM", "MAIL FROM command", "smtp_mail_timeout")
    RCPT = ("sending RCPT TO", "RCPT TO command", "smtp_rcpt_timeout")
    DATA = ("sending DATA command", "DATA command", "smtp_data_init_timeout")
    BODY = ("sending message body", "message body", "smtp_data_xfer_timeout")
    DOT = (
        "sending end of data -- message may be sent more than once",
        "end of DATA command",
        "smtp_data_done_timeout",
    )
    QUIT = ("sending QUIT", "QUIT command", "smtp_quit_timeout")

    @property
    def words(self) -> str:
        return self.value[0]

    @property
    def request(self) -> str:
        return self.value[1]

    @property
    def timeout(self) -> str:
        return self.value[2]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why something was not delivered. ``dsn`` (RFC 3463) decides: 4 to be tried again, 5 to be returned."""

    dsn: str
    text: str
    diagnostic: str = ""
    """The peer's reply, where it was the peer that said so."""
    remote_mta: str = ""
    throttle: bool = False
    """It says something about the destination, not about this message: connection, handshake, lost connection."""

    @property
    def soft(self) -> bool:
        return self.dsn.startswith("4")

    @property
    def loop(self) -> bool:
        """Mail for it comes back to this host."""
        return self.dsn.endswith(".4.6")
