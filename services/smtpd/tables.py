"""The machine's tables: states, verbs, and what is out of order. Pure."""

from dataclasses import dataclass
from enum import Enum

CONNECT = "CONNECT"
AFTER_DATA = "DATA content"
AFTER_BDAT = "BDAT content"
END_OF_MESSAGE = "END-OF-MESSAGE"
UNKNOWN = "UNKNOWN"


class State(Enum):
    """Where a mail transaction stands (RFC 5321 3.3)."""

    # Enum's own hashes the name, in Python, at every command.
    __hash__ = object.__hash__

    READY = "no transaction"
    MAIL = "sender given"
    RCPT = "at least one recipient accepted"
    CONTENT = "content by DATA is coming"
    CHUNKED = "between two BDAT chunks"
    CHUNK = "content by BDAT is coming"
    BROKEN = "a chunk was refused; the rest of its message is dropped"
    AUTH = "a response to a challenge is due"
    CLOSED = "the session is over"


@dataclass(frozen=True, slots=True)
class Verb:
    """``junk``: counts towards smtpd_junk_command_limit. ``last``: none may be pipelined behind it (RFC 2920 3.1).

    ``clear``: allowed before STARTTLS where TLS is required (RFC 3207 4).
    """

    junk: bool = False
    last: bool = False
    clear: bool = False


VERBS: dict[str, Verb] = {
    "HELO": Verb(junk=True, last=True, clear=True),
    "EHLO": Verb(junk=True, last=True, clear=True),
    "XCLIENT": Verb(clear=True),
    "XFORWARD": Verb(),
    # RFC 3207 4.2: what is pipelined behind it comes from nobody knows whom.
    "STARTTLS": Verb(last=True, clear=True),
    "AUTH": Verb(),
    "MAIL": Verb(),
    "RCPT": Verb(),
    "DATA": Verb(last=True),
    "BDAT": Verb(),
    "RSET": Verb(junk=True),
    "NOOP": Verb(junk=True, last=True, clear=True),
    "VRFY": Verb(junk=True, last=True),
    "ETRN": Verb(junk=True),
    "QUIT": Verb(clear=True),
    "HELP": Verb(clear=True),
}
"""In the order of the disconnect line's counters."""

_BUSY = "503 5.5.1 Error: MAIL transaction in progress"
_NESTED = "503 5.5.1 Error: nested MAIL command"

OUT_OF_ORDER: dict[tuple[State, str], str] = {
    (State.MAIL, "MAIL"): _NESTED,
    (State.RCPT, "MAIL"): _NESTED,
    (State.CHUNKED, "MAIL"): _NESTED,
    (State.BROKEN, "MAIL"): "503 5.5.1 Error: MAIL after BDAT",
    (State.READY, "RCPT"): "503 5.5.1 Error: need MAIL command",
    (State.CHUNKED, "RCPT"): "503 5.5.1 Error: RCPT after BDAT",
    (State.BROKEN, "RCPT"): "503 5.5.1 Error: RCPT after BDAT",
    (State.READY, "DATA"): "503 5.5.1 Error: need RCPT command",
    (State.MAIL, "DATA"): "554 5.5.1 Error: no valid recipients",
    (State.CHUNKED, "DATA"): "503 5.5.1 Error: DATA after BDAT",
    (State.BROKEN, "DATA"): "503 5.5.1 Error: DATA after BDAT",
    # RFC 1985 5.1: ETRN is not for use within a transaction.
    (State.MAIL, "ETRN"): "503 Error: MAIL transaction in progress",
    (State.RCPT, "ETRN"): "503 Error: MAIL transaction in progress",
    (State.CHUNKED, "ETRN"): "503 Error: MAIL transaction in progress",
    (State.BROKEN, "ETRN"): "503 Error: MAIL transaction in progress",
    (State.MAIL, "XCLIENT"): _BUSY,
    (State.RCPT, "XCLIENT"): _BUSY,
    (State.CHUNKED, "XCLIENT"): _BUSY,
    (State.BROKEN, "XCLIENT"): _BUSY,
    # RFC 4954 4: AUTH is not permitted during a mail transaction.
    (State.MAIL, "AUTH"): _BUSY,
    (State.RCPT, "AUTH"): _BUSY,
    (State.CHUNKED, "AUTH"): _BUSY,
    (State.BROKEN, "AUTH"): _BUSY,
    (State.MAIL, "XFORWARD"): _BUSY,
    (State.RCPT, "XFORWARD"): _BUSY,
    (State.CHUNKED, "XFORWARD"): _BUSY,
    (State.BROKEN, "XFORWARD"): _BUSY,
}
"""(state, verb) -> reply. What is not here is in order (RFC 5321 4.1.4); BDAT has its own rules, for it has content."""

BDAT_OUT_OF_ORDER: dict[State, str] = {
    State.READY: "503 5.5.1 Error: need RCPT command",
    State.MAIL: "554 5.5.1 Error: no valid recipients",
}
