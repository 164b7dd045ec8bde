"""Variable envelope return paths: the recipient within the sender's address (Postfix VERP_README). Pure."""

from tubepost.common.mail import address as addresses
from tubepost.common.wire.envelope import Recipient


def verp_sender(sender: str, delimiters: str, recipient: Recipient) -> str:
    """``list-owner@example.com`` with ``+=`` and ``user@example.net``: ``list-owner+user=example.net@example.com``."""
    local, domain = addresses.split(sender)
    user, host = addresses.split(recipient.original or recipient.address)
    middle = f"{user}{delimiters[1]}{host}" if host else user
    return addresses.join(f"{local}{delimiters[0]}{middle}", domain)
