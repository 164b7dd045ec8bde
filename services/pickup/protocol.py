"""What becomes of a posted message: the envelope that is believed, the Received: field, the end of the file. Pure."""

import enum
import re
from collections.abc import Sequence

from tubepost.common.mail.date import format_date
from tubepost.common.wire.base import Refused
from tubepost.common.wire.bounce import Entry
from tubepost.common.wire.cleanup import QUEUE_ID_MARK, Deposit
from tubepost.common.wire.delivery import RecipientStatus
from tubepost.common.wire.envelope import Envelope, Origin, Recipient

_HOUR, _DAY = 3600, 86_400
_NO_RECIPIENTS = "5.1.0"
# RFC 3463 3.6
TOO_MANY = Refused(code=554, dsn="5.5.3", reason="too many recipients: nobody got the message")


class Fate(enum.Enum):
    """What cleanup's refusal means for the file."""

    KEEP = "tried again at the next wake-up"
    DROP = "removed"
    RETURN = "returned to its sender"


def judge(refused: Refused) -> Fate:
    """Without recipients there is nothing to send and nothing to return (Postfix: the same)."""
    if refused.code // 100 != 5:
        return Fate.KEEP
    return Fate.DROP if refused.dsn == _NO_RECIPIENTS else Fate.RETURN


def posted_time(modified: float, now: float) -> tuple[float, str]:
    """The time to believe, seconds since the epoch, and a warning about the file's own, or the empty string.

    Two hours of a wrong clock (a directory mounted from elsewhere) are borne with, as Postfix does.
    """
    if modified > now + 2 * _HOUR:
        return now, f"dated {int(modified - now)} seconds into the future"
    if modified < 0:
        # The poster may set any time: there are some that no calendar has.
        return now, "dated before 1970"
    if modified < now - _DAY:
        return modified, f"has been queued for {int((now - modified) // _DAY)} days"
    return modified, ""


# A file in maildrop is whatever its poster made it, not only what sendmail writes. RFC 5198 2.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def harmless(text: str) -> str:
    """What could begin a line of a header, a report or a queue file becomes ``?``."""
    return text if text.isprintable() else _UNPRINTABLE.sub("?", text)


def _believed(recipient: Recipient) -> Recipient:
    if (recipient.address + recipient.original + recipient.orcpt).isprintable():
        return recipient
    cleaned = {name: harmless(getattr(recipient, name)) for name in ("address", "original", "orcpt")}
    return recipient.model_copy(update=cleaned)


def believed_envelope(written: Envelope, uid: int, time: float, content_filter: str) -> Envelope:
    """Of what a user wrote only what a user may say."""
    return Envelope(
        sender=harmless(written.sender),
        arrival_time=time,
        encoding="7bit" if written.encoding == "binary" else written.encoding,
        smtputf8=written.smtputf8,
        ret=written.ret,
        envid=harmless(written.envid),
        origin=Origin(uid=uid),
        content_filter=content_filter,
        verp=harmless(written.verp),
        fullname=harmless(written.fullname),
        trace=written.trace,
        rewrite_context=written.rewrite_context or "local",
    )


def requeued_envelope(written: Envelope, content_filter: str) -> Envelope:
    """What cleanup had made of it before; filters and redirections are decided anew (Postfix postsuper(1) -r)."""
    context = written.rewrite_context or ("remote" if written.origin.client_address else "local")
    return written.model_copy(
        update={"content_filter": content_filter, "redirect": "", "rewrite_context": context, "trace": ""}
    )


def received(myhostname: str, mail_name: str, uid: int, time: float, offset: int, zone: str) -> str:
    """RFC 5321 4.4, as far as it goes: there was no client, so the user stands in its place (Postfix's form)."""
    date = format_date(time, offset, zone)
    return f"Received: by {myhostname} ({mail_name}, from userid {uid})\n\tid {QUEUE_ID_MARK}; {date}"


def deposit(
    envelope: Envelope, recipients: Sequence[Recipient], line: str, options: frozenset[str], *, requeued: bool
) -> Deposit:
    """The request to cleanup. ``options``: receive_override_options."""
    mapped = "no_address_mappings" not in options
    return Deposit(
        envelope=envelope,
        recipients=tuple(recipients if requeued else map(_believed, recipients)),
        source="requeue" if requeued else "pickup",
        rewrite_context="remote" if envelope.rewrite_context == "remote" else "local",
        filters="no_header_body_checks" not in options,
        aliases=mapped,
        bcc=mapped,
        # What milters saw when the message first came cannot be told them again.
        milters=not requeued and "no_milters" not in options,
        prepend=(line,),
    )


def failures(recipients: Sequence[tuple[int, Recipient]], refused: Refused, time: float) -> tuple[Entry, ...]:
    """Entries of the report to the sender. ``recipients``: (offset in the file, recipient)."""
    return tuple(
        Entry(
            recipient=recipient,
            status=RecipientStatus(
                offset=offset, status="bounced", dsn=refused.dsn or "5.0.0", text=refused.reason, relay="none"
            ),
            action="failed",
            time=time,
        )
        for offset, recipient in recipients
    )
