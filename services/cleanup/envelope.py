"""The envelope of a message: sender, recipients, automatic copies. Pure."""

from tubepost.common.wire.envelope import Recipient

from tubepost.services.cleanup import mapping
from tubepost.services.cleanup.policy import ENVELOPE_RECIPIENT, ENVELOPE_SENDER, Expand, Policy
from tubepost.services.cleanup.protocol import Message
from tubepost.services.cleanup.virtual import Recipients

_DAEMON = "MAILER-DAEMON"


async def clean_envelope(message: Message, policy: Policy, recipients: list[Recipient]) -> Recipients:
    """Sender and recipients in canonical form, aliases expanded, BCC maps asked. Raises Trouble.

    Unqualified envelope addresses are local ones, whoever sends them: hence context "local" throughout.
    """
    deposit = message.deposit
    given = [recipient.address or policy.empty_address_recipient for recipient in recipients]
    sender = deposit.envelope.sender
    standard = await policy.rewrite("local", [sender, *given] if sender else given)
    if sender:
        message.sender = await _sender(message, policy, standard.pop(0))
    _need_utf8(message, policy, message.sender)
    out = Recipients(message, policy)
    if deposit.bcc and message.sender and policy.sender_bcc_maps is not None:
        await _add_copies(message, policy, out, policy.sender_bcc_maps, message.sender)
    for recipient, address in zip(recipients, standard, strict=True):
        if message.dead:
            break
        address = await mapping.map_address(message, policy, address, ENVELOPE_RECIPIENT)
        _need_utf8(message, policy, address)
        message.last_recipient = address
        await out.add(recipient, address)
        if deposit.bcc and policy.recipient_bcc_maps is not None:
            await _add_copies(message, policy, out, policy.recipient_bcc_maps, address)
    return out


async def finish_envelope(message: Message, policy: Policy, out: Recipients) -> None:
    """After the content is known: always_bcc and the BCC action's copies; none where nobody else gets the mail."""
    if message.last_recipient is None:
        return
    if message.deposit.bcc and policy.always_bcc:
        await _copy(message, policy, out, policy.always_bcc)
    for address in message.copies:
        await _copy(message, policy, out, address)


async def _sender(message: Message, policy: Policy, sender: str) -> str:
    if sender[:14].upper() == "MAILER-DAEMON@":
        # A bounce that was handed in with a name for its sender: null again, or bounces of bounces come of it.
        own = (await policy.rewrite("local", [_DAEMON]))[0]
        if sender.casefold() == own.casefold():
            return ""
    return await mapping.map_address(message, policy, sender, ENVELOPE_SENDER)


async def _add_copies(message: Message, policy: Policy, out: Recipients, table: Expand, address: str) -> None:
    for copy in await table(address) or ():
        await _copy(message, policy, out, copy)


async def _copy(message: Message, policy: Policy, out: Recipients, address: str) -> None:
    """An automatic copy: the sender is told nothing of its fate (NOTIFY=NEVER)."""
    standard = (await policy.rewrite("local", [address]))[0]
    standard = await mapping.map_address(message, policy, standard, ENVELOPE_RECIPIENT)
    _need_utf8(message, policy, standard)
    await out.add(Recipient(address=standard, notify=("NEVER",)), standard)


def _need_utf8(message: Message, policy: Policy, address: str) -> None:
    if not address.isascii() and message.deposit.source in policy.smtputf8_autodetect:
        message.smtputf8 = True
