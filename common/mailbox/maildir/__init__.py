"""Maildir++ on disk: one file a message, no locks (https://cr.yp.to/proto/maildir.html, Maildir++ of Courier)."""

from tubepost.common.mailbox.maildir.delivery import MaildirStore, unique_name

__all__ = ["MaildirStore", "unique_name"]
