"""The mailbox store, as its writers see it (floor 2). Its readers' side will come behind the same interface.

One implementation now: Maildir++ on disk (``maildir``), and mbox files for ``local`` (``mbox``). File paths are the
implementation's business: a delivery names a mailbox and gives content.
"""

from tubepost.common.mailbox.store import Content, DeliveryError, Store

__all__ = ["Content", "DeliveryError", "Store"]
