"""One message on its way through cleanup: what was decided about it so far, and what is said of it. Pure.

Whoever works on the message notes faults, actions and log lines here; at the end ``refusal`` says whether it may go on.
"""

import enum
import re

from tubepost.common.mail import dsn
from tubepost.common.wire.base import Refused
from tubepost.common.wire.cleanup import Deposit
from tubepost.common.wire.envelope import Envelope, Recipient


class Fault(enum.Enum):
    """What can be wrong: reply code, status, text (Postfix cleanup_strerror(3)). The first one listed is told."""

    DEFER = (451, "4.7.1", "Error: service unavailable")
    ENVELOPE = (550, "5.1.7", "Error: a line end in the envelope")
    RECIPIENTS = (550, "5.1.0", "Error: no recipients specified")
    HOPS = (554, "5.4.0", "Error: too many hops")
    SIZE = (552, "5.3.4", "Error: message file too big")
    HEADER = (552, "5.3.4", "Error: message header too big")
    CONTENT = (550, "5.7.1", "message content rejected")
    WRITE = (451, "4.3.0", "Error: queue file write error")


# Ends the work on a message: nothing that is found out later matters.
_FINAL = frozenset({Fault.DEFER, Fault.ENVELOPE, Fault.HOPS, Fault.SIZE, Fault.HEADER, Fault.WRITE})
_CONTENT_IN_LOG = 200
_LINE_END = re.compile(r"[\r\n\0]")


class Trouble(Exception):
    """A table or a program cannot tell now: the message is not accepted, the client is to try again."""


class Message:
    """State of one message; see the module's text."""

    __slots__ = (
        "content_filter",
        "copies",
        "deposit",
        "discard",
        "encoding",
        "expanded",
        "faults",
        "filters",
        "hold",
        "hops",
        "last_recipient",
        "lines",
        "queue_id",
        "reason",
        "recipients",
        "redirect",
        "sender",
        "smtputf8",
    )

    def __init__(self, queue_id: str, deposit: Deposit) -> None:
        envelope = deposit.envelope
        self.queue_id = queue_id
        self.deposit = deposit
        self.sender = envelope.sender
        self.recipients: list[Recipient] = []
        self.last_recipient: str | None = None
        self.expanded: list[Recipient] = []
        """Recipients whose NOTIFY=SUCCESS was answered by their expansion (RFC 3461 5.2.7)."""
        self.filters = deposit.filters
        self.hold = deposit.hold
        self.discard = False
        self.content_filter = envelope.content_filter
        self.redirect = envelope.redirect
        self.copies: list[str] = []
        """Recipients of the BCC action."""
        self.encoding = envelope.encoding
        self.smtputf8 = envelope.smtputf8
        self.hops = 0
        self.faults: set[Fault] = set()
        self.reason = ""
        """With its status before it; for CONTENT and DEFER."""
        self.lines: list[tuple[str, str]] = []
        """Log lines, ("info" or "warning", text), in order; the caller writes them."""
        if _has_line_end(deposit):
            self.fail(Fault.ENVELOPE)
            self.warn(f"a message of {deposit.source} has a line end in its envelope: refused")

    def info(self, text: str) -> None:
        self.lines.append(("info", f"{self.queue_id}: {text}"))

    def warn(self, text: str) -> None:
        self.lines.append(("warning", f"{self.queue_id}: {text}"))

    def fail(self, fault: Fault, reason: str = "") -> None:
        """Note a fault; ``reason`` begins with a status code."""
        self.faults.add(fault)
        if reason:
            self.reason = reason

    @property
    def dead(self) -> bool:
        """True when reading on is of no use: the answer is known."""
        return not _FINAL.isdisjoint(self.faults)

    def act(self, action: str, context: str, content: str, text: str) -> None:
        """The log line of an action of a check: ``ID: reject: header Subject: … from host[1.2.3.4]; …: text``."""
        origin = self.deposit.envelope.origin
        where = f"{origin.client_name}[{origin.client_address}]" if origin.client_address else "local"
        line = f"{action}: {context} {content[:_CONTENT_IN_LOG]} from {where}; from=<{self.sender}>"
        if self.last_recipient is not None:
            line += f" to=<{self.last_recipient}>"
        if origin.protocol:
            line += f" proto={origin.protocol}"
        if origin.helo:
            line += f" helo=<{origin.helo}>"
        self.info(f"{line}: {text}" if text else line)

    def refusal(self) -> Refused | None:
        """What the caller is told; None when the message is good. A discarded message is always good."""
        if not self.faults or self.discard:
            return None
        fault = next(fault for fault in Fault if fault in self.faults)
        code, status, text = fault.value
        if fault in (Fault.CONTENT, Fault.DEFER) and self.reason:
            status, text = dsn.split(self.reason, status)
        return Refused(code=code, dsn=status, reason=text)

    def final_envelope(self) -> Envelope:
        """The envelope as it stands after all work: the caller's own when nothing was changed."""
        envelope = self.deposit.envelope
        changes: dict[str, object] = {}
        for name, value in (
            ("sender", self.sender),
            ("encoding", self.encoding),
            ("smtputf8", self.smtputf8),
            ("content_filter", self.content_filter),
            ("redirect", self.redirect),
            ("rewrite_context", self.deposit.rewrite_context),
        ):
            if getattr(envelope, name) != value:
                changes[name] = value
        return envelope.model_copy(update=changes) if changes else envelope


def _has_line_end(deposit: Deposit) -> bool:
    """A caller that was broken into must not add lines to headers and reports by an address or a name."""
    envelope = deposit.envelope
    said = [envelope.sender, envelope.envid, envelope.fullname, envelope.content_filter, envelope.redirect]
    said += (value for value in envelope.origin.__dict__.values() if isinstance(value, str))
    for recipient in deposit.recipients:
        said += (recipient.address, recipient.original, recipient.orcpt)
    return _LINE_END.search("".join(said)) is not None
