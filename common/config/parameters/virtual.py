"""Delivery to mailboxes of virtual domains (the virtual program)."""

from tubepost.common.config.declare import Integer, List, Maps, Settings, Size, Text


class Virtual(Settings):
    virtual_mailbox_domains = List("$virtual_mailbox_maps", "Domains whose mail goes to virtual mailboxes.")
    virtual_mailbox_maps = Maps(
        "", "Table of mailboxes by recipient: a path below virtual_mailbox_base; with a final / a Maildir."
    )
    virtual_mailbox_base = Text("", "Directory of all virtual mailboxes.")
    virtual_mailbox_limit = Size(
        "268435456", "Largest mailbox or Maildir file; not below message_size_limit; 0: no limit."
    )
    virtual_mailbox_quota_maps = Maps(
        "",
        "Table of quotas by recipient: bytes, and after a space messages, of all folders of a Maildir; 0 for no limit.",
        postfix=False,
    )
    virtual_mailbox_lock = List("fcntl, dotlock", "How an mbox is locked.", choices=("fcntl", "flock", "dotlock"))
    virtual_minimum_uid = Integer("100", "Smallest user id that virtual_uid_maps may give.", low=1)
    virtual_uid_maps = Maps("", "Table of user ids by recipient; static:5000 for one that owns all.")
    virtual_gid_maps = Maps("", "Table of group ids by recipient.")
    virtual_delivery_status_filter = Maps(
        "$default_delivery_status_filter", "Table that changes the status of deliveries."
    )
