"""The steps of one list run in order, and the lists of each command in theirs (Postfix: SMTPD_ACCESS_README)."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING, cast

from tubepost.services.smtpd.restrictions import unlisted
from tubepost.services.smtpd.restrictions.evaluation import Evaluation, Stop
from tubepost.services.smtpd.restrictions.words import (
    CLIENT,
    DATA,
    DUNNO,
    END_OF_DATA,
    ETRN,
    HELO,
    RECIPIENT,
    REJECT,
    SENDER,
)
from tubepost.services.smtpd.steps import Steps, drive_on

if TYPE_CHECKING:
    from tubepost.services.smtpd.restrictions.language import Step


class Lists:
    """The text of the eight parameters, compiled: one a process."""

    __slots__ = ("client", "data", "end_of_data", "etrn", "helo", "recipient", "relay", "sender")

    def __init__(
        self,
        *,
        client: "tuple[Step, ...]" = (),
        helo: "tuple[Step, ...]" = (),
        sender: "tuple[Step, ...]" = (),
        relay: "tuple[Step, ...]" = (),
        recipient: "tuple[Step, ...]" = (),
        data: "tuple[Step, ...]" = (),
        end_of_data: "tuple[Step, ...]" = (),
        etrn: "tuple[Step, ...]" = (),
    ) -> None:
        self.client = client
        self.helo = helo
        self.sender = sender
        self.relay = relay
        self.recipient = recipient
        self.data = data
        self.end_of_data = end_of_data
        self.etrn = etrn


def run_steps(evaluation: Evaluation, steps: "tuple[Step, ...]", name: str, kind: str) -> Steps[int]:
    """Until a step says OK or REJECT. Raises Stop and HangUp."""
    saved = evaluation.recursion
    evaluation.recursion = level = saved + 1
    status = DUNNO
    for step in steps:
        if evaluation.effects.discard:
            break
        if step.warns:
            if not evaluation.warn_if_reject:
                evaluation.warn_if_reject = level
            continue
        outcome = step.check(evaluation, name, kind, step.argument)
        # Most checks answer at once: no coroutine is made for them.
        status = outcome if outcome.__class__ is int else (yield cast("Awaitable[int]", outcome))
        if evaluation.warn_if_reject >= level:
            evaluation.warn_if_reject = 0
        if status or (evaluation.defer_if_permit is not None and evaluation.defer_if_reject is not None):
            break
    evaluation.recursion = saved
    if evaluation.warn_if_reject > saved:
        evaluation.warn_if_reject = 0
    return status


async def run(evaluation: Evaluation, steps: "tuple[Step, ...]", name: str, kind: str) -> int:
    """``run_steps`` for a check that waits anyway."""
    return await drive_on(run_steps(evaluation, steps, name, kind))


def _judge(evaluation: Evaluation, steps: "tuple[Step, ...]", name: str, kind: str) -> Steps[int]:
    evaluation.begin()
    return (yield from _judge_on(evaluation, steps, name, kind))


def _judge_on(evaluation: Evaluation, steps: "tuple[Step, ...]", name: str, kind: str) -> Steps[int]:
    """A further list of the same judgement."""
    if not steps:
        return DUNNO
    evaluation.list_kind = kind
    try:
        return (yield from run_steps(evaluation, steps, name, kind))
    except Stop:
        return REJECT


def check_client(evaluation: Evaluation, lists: Lists) -> Steps[str]:
    """smtpd_client_restrictions. This and the following return the reply of a refusal, or ""."""
    evaluation.defer_if_permit = None
    status = yield from _judge(evaluation, lists.client, evaluation.client.identity, CLIENT)
    evaluation.defer_if_permit_client = evaluation.defer_if_permit
    return evaluation.reply if status == REJECT else ""


def check_helo(evaluation: Evaluation, lists: Lists) -> Steps[str]:
    """smtpd_helo_restrictions."""
    evaluation.defer_if_permit = evaluation.defer_if_permit_client
    status = yield from _judge(evaluation, lists.helo, evaluation.helo, HELO)
    evaluation.defer_if_permit_helo = evaluation.defer_if_permit
    return evaluation.reply if status == REJECT else ""


def check_sender(evaluation: Evaluation, lists: Lists) -> Steps[str]:
    """smtpd_sender_restrictions, smtpd_reject_unlisted_sender."""
    evaluation.defer_if_permit = evaluation.defer_if_permit_helo or evaluation.defer_if_permit_client
    evaluation.sender_listed = False
    status = yield from _judge(evaluation, lists.sender, evaluation.sender or "", SENDER)
    evaluation.defer_if_permit_sender = evaluation.defer_if_permit
    if status != REJECT and evaluation.world.rules.smtpd_reject_unlisted_sender and not evaluation.effects.discard:
        status = yield from _last_check(evaluation, unlisted.reject_unlisted_sender)
    return evaluation.reply if status == REJECT else ""


def check_recipient(evaluation: Evaluation, lists: Lists) -> Steps[str]:
    """All that is judged at RCPT: with smtpd_delay_reject also client, HELO and sender."""
    recipient = evaluation.recipient or ""
    # RFC 5321 4.5.1: postmaster must be reachable, whoever asks.
    if recipient.lower() == "postmaster":
        return ""
    evaluation.recipient_listed = False
    rules = evaluation.world.rules
    if rules.smtpd_delay_reject:
        reply = yield from _check_delayed(evaluation, lists)
        if reply:
            return reply
    evaluation.defer_if_permit = (
        evaluation.defer_if_permit_sender or evaluation.defer_if_permit_helo or evaluation.defer_if_permit_client
    )
    pair = (lists.relay, lists.recipient)
    status = DUNNO
    evaluation.begin()
    for steps in pair if rules.smtpd_relay_before_recipient_restrictions else reversed(pair):
        status = yield from _judge_on(evaluation, steps, recipient, RECIPIENT)
        if status == REJECT:
            break
    status = evaluation.conclude(status)
    if status != REJECT and rules.smtpd_reject_unlisted_recipient and not evaluation.effects.discard:
        status = yield from _last_check(evaluation, unlisted.reject_unlisted_recipient)
    return evaluation.reply if status == REJECT else ""


def _check_delayed(evaluation: Evaluation, lists: Lists) -> Steps[str]:
    # A list that is empty and leaves no deferral behind is not worth a coroutine: every RCPT comes through here.
    reply = ""
    if lists.client or evaluation.defer_if_permit_client is not None:
        reply = yield from check_client(evaluation, lists)
    if not reply and evaluation.helo and (lists.helo or evaluation.defer_if_permit_helo is not None):
        reply = yield from check_helo(evaluation, lists)
    if not reply and (
        lists.sender
        or evaluation.defer_if_permit_sender is not None
        or evaluation.world.rules.smtpd_reject_unlisted_sender
    ):
        reply = yield from check_sender(evaluation, lists)
    return reply


def _last_check(evaluation: Evaluation, check: "unlisted.Check") -> Steps[int]:
    try:
        outcome = check(evaluation, "", "", "")
        return outcome if isinstance(outcome, int) else (yield outcome)
    except Stop:
        return REJECT


def check_data(evaluation: Evaluation, lists: Lists) -> Steps[str]:
    """smtpd_data_restrictions; with several recipients none of them is named."""
    return (yield from _check_content(evaluation, lists.data, "DATA", DATA))


def check_end_of_data(evaluation: Evaluation, lists: Lists) -> Steps[str]:
    """smtpd_end_of_data_restrictions."""
    return (yield from _check_content(evaluation, lists.end_of_data, "END-OF-MESSAGE", END_OF_DATA))


def _check_content(evaluation: Evaluation, steps: "tuple[Step, ...]", name: str, kind: str) -> Steps[str]:
    if not steps:
        return ""
    evaluation.defer_if_permit = None
    status = evaluation.conclude((yield from _judge(evaluation, steps, name, kind)))
    return evaluation.reply if status == REJECT else ""


def check_etrn(evaluation: Evaluation, lists: Lists) -> Steps[str]:
    """smtpd_etrn_restrictions; with smtpd_delay_reject also client and HELO."""
    if evaluation.world.rules.smtpd_delay_reject:
        if reply := (yield from check_client(evaluation, lists)):
            return reply
        if evaluation.helo and (reply := (yield from check_helo(evaluation, lists))):
            return reply
    evaluation.defer_if_permit = evaluation.defer_if_permit_helo or evaluation.defer_if_permit_client
    status = evaluation.conclude((yield from _judge(evaluation, lists.etrn, evaluation.etrn, ETRN)))
    return evaluation.reply if status == REJECT else ""
