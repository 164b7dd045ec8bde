"""Mails transcripts of sessions to the postmaster, as far as notify_classes asks for them."""

import time
from collections.abc import Iterable

from tubepost.common.mail import notice
from tubepost.common.wire.cleanup import Deposit, Deposited
from tubepost.common.wire.envelope import Envelope, Recipient
from tubepost.common.system import log
from tubepost.common.bus import BusError
from tubepost.common.skeleton.process import Process


class Postmaster:
    """One a program. ``role``: what it is to the peers of its sessions, ``SMTP server``."""

    def __init__(self, process: Process, role: str) -> None:
        self._process = process
        self._role = role
        self._cleanup = process.client(process.config.cleanup_service_name)
        self._under_way = 0

    @property
    def busy(self) -> bool:
        """A notice is under way."""
        return self._under_way > 0

    def is_deaf(self, sender: str) -> bool:
        """Trouble with mail of this sender is not told: it may be a notice itself, and there would be no end to it."""
        return not sender or sender.partition("@")[0] == self._process.config.double_bounce_sender

    async def tell(self, peer: str, troubles: frozenset[str], transcript: Iterable[str], reason: str = "") -> None:
        """``troubles``: classes as in notify_classes. ``reason``: why the session was aborted. Never raises."""
        config = self._process.config
        if not notice.is_wanted(troubles, config.notify_classes):
            return
        recipient = config.bounce_notice_recipient if "bounce" in troubles else config.error_notice_recipient
        content = notice.write(
            mail_name=config.mail_name,
            myorigin=config.myorigin,
            recipient=recipient,
            role=self._role,
            peer=peer,
            transcript=transcript,
            reason=reason,
        )
        deposit = Deposit(
            envelope=Envelope(sender=f"{config.double_bounce_sender}@{config.myorigin}", arrival_time=time.time()),
            recipients=(Recipient(address=recipient),),
            source="notify",
            rewrite_context="local",
            filters=False,
        )
        self._under_way += 1
        try:
            await self._cleanup.call(deposit, Deposited, payload=content)
        except BusError as error:
            log.warning(f"postmaster notify: {error}")
        finally:
            self._under_way -= 1
