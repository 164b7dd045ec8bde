"""What the machine tells its driver: one frozen value an event. Pure.

Those marked *asks* want an answer, ``Machine.accept`` or ``Machine.refuse``, before the next event.
"""

from dataclasses import dataclass, field

from tubepost.common.wire.envelope import Notify


@dataclass(frozen=True, slots=True)
class Helo:
    """Asks. HELO or EHLO (``extended``)."""

    name: str
    extended: bool


@dataclass(frozen=True, slots=True)
class Mail:
    """Asks. MAIL with its parameters understood (RFC 5321 4.1.1.2, 1870, 6152, 3030, 6531, 3461)."""

    sender: str
    size: int = 0
    encoding: str = ""
    """7bit, 8bit, binary, or empty when BODY was not given."""
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    verp: str = ""
    auth: str = ""
    """RFC 4954 5: who is said to have submitted it, ``<>`` where that is not known; empty when AUTH was not given."""


@dataclass(frozen=True, slots=True)
class Rcpt:
    """Asks. RCPT with its parameters understood (RFC 5321 4.1.1.3, 3461)."""

    address: str
    orcpt: str = ""
    """``type;address``, decoded."""
    notify: tuple[Notify, ...] = ()


@dataclass(frozen=True, slots=True)
class Data:
    """Asks. DATA, or the first BDAT of a message (``chunking``): may content come?"""

    chunking: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """A piece of content; LF line ends, or exactly as sent for encoding binary."""

    data: bytes


@dataclass(frozen=True, slots=True)
class EndOfContent:
    """Asks: ``Machine.accept("queue id")`` when the message is on disk. ``size`` in bytes, a line end is two."""

    size: int


@dataclass(frozen=True, slots=True)
class ContentLost:
    """The machine has refused the message for itself; what the driver holds of it is to be forgotten."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The mail transaction ended without a message: RSET, a new HELO, XCLIENT."""


@dataclass(frozen=True, slots=True)
class Vrfy:
    """Asks."""

    address: str
    smtputf8: bool
    text: str


@dataclass(frozen=True, slots=True)
class Etrn:
    """Asks."""

    domain: str


@dataclass(frozen=True, slots=True)
class Xclient:
    """Asks. Attributes that an authorised client sets, by name (XCLIENT_README)."""

    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Xforward:
    """Asks. Attributes for the log and the headers, by name (XFORWARD_README)."""

    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StartTls:
    """Asks. After ``accept`` the reply is to be sent, and TLS to begin; ``Machine.secure`` when it is there."""


@dataclass(frozen=True, slots=True)
class Auth:
    """Asks, also with ``Machine.challenge``. ``initial``: None where there is no initial response."""

    mechanism: str
    initial: bytes | None


@dataclass(frozen=True, slots=True)
class AuthResponse:
    """Asks as Auth does."""

    data: bytes


@dataclass(frozen=True, slots=True)
class AuthAbandoned:
    """The client gave up, or sent what cannot be a response; it was told."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Sleep so long, then call ``Machine.resume``: the client makes many errors (smtpd_error_sleep_time)."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hangup:
    """Send what is to be sent and close. ``reason`` is for the log; empty where the client took its leave."""

    reason: str = ""


Event = (
    Helo
    | Mail
    | Rcpt
    | Data
    | Content
    | EndOfContent
    | ContentLost
    | Reset
    | Vrfy
    | Etrn
    | Xclient
    | Xforward
    | StartTls
    | Auth
    | AuthResponse
    | AuthAbandoned
    | Pause
    | Hangup
)
