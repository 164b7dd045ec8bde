"""What a message carries besides its content: shared by the cleanup, queue manager and delivery conversations.

Addresses are ``str`` (valid Unicode; bytes that are not UTF-8 never pass the door), in external form without angle
brackets; the empty string is the null sender.
"""

from typing import Annotated, Literal

from pydantic import Field

from tubepost.common.wire.base import Message

Encoding = Literal["7bit", "8bit", "binary"]
Notify = Literal["NEVER", "SUCCESS", "FAILURE", "DELAY"]
Time = Annotated[float, Field(ge=0, le=253_402_300_799)]
"""Seconds since the epoch, to the end of the year 9999: all that a calendar has."""


class Origin(Message):
    """Where a message came from, for logs, headers and delivery agents (Postfix: client attributes)."""

    client_name: str = "unknown"
    client_address: str = ""
    client_port: str = ""
    helo: str = ""
    protocol: str = ""
    """ESMTP, SMTP, ESMTPSA …; empty for local submission."""
    sasl_method: str = ""
    sasl_username: str = ""
    sasl_sender: str = ""
    log_ident: str = ""
    uid: int = -1
    """Of the submitting user, for local submission; -1 otherwise."""


class Envelope(Message):
    """The sender's side of the envelope."""

    sender: str
    arrival_time: Time
    encoding: Encoding = "7bit"
    smtputf8: bool = False
    ret: Literal["", "FULL", "HDRS"] = ""
    """RFC 3461 4.3."""
    envid: str = ""
    """RFC 3461 4.4, decoded from xtext."""
    origin: Origin = Origin()
    content_filter: str = ""
    """``transport:nexthop`` that overrides routing (FILTER action, content_filter)."""
    redirect: str = ""
    """REDIRECT action: replaces every recipient."""
    verp: str = ""
    """Two VERP delimiter characters, or empty (sendmail -XV)."""
    fullname: str = ""
    trace: Literal["", "deliver", "probe"] = ""
    """sendmail -v: deliver, and mail a report of the first try; sendmail -bv: report what would be done, no more."""
    rewrite_context: Literal["", "local", "remote"] = ""
    """How header addresses were rewritten (cleanup.Deposit), for mail that is queued anew; empty: not known."""


class Recipient(Message):
    """One envelope recipient."""

    address: str
    original: str = ""
    """As first given by the sender, before virtual aliases (Postfix orig_to); empty when the same as address."""
    orcpt: str = ""
    """RFC 3461 4.2, ``type;address`` decoded; empty when not given."""
    notify: tuple[Notify, ...] = ()
    """RFC 3461 4.1; empty means that none was given."""
