"""virtual - delivers to mailboxes of virtual domains

Summary
    virtual  unix  -  n  n  -  -  virtual

Description
    Takes delivery jobs of qmgr. A recipient is looked up in ``virtual_mailbox_maps``; the result names a mailbox below
    ``virtual_mailbox_base``: with a final slash a Maildir, without one an mbox file. The mailbox belongs to the ids
    that ``virtual_uid_maps`` and ``virtual_gid_maps`` give. A Maildir is full when the account has used up what
    ``virtual_mailbox_quota_maps`` allows; after a delivery into one ``notify`` is told, so that readers hear of it.

Standards
    RFC 822/5322 (header lines that are added): yes. Maildir: yes.

Security
    Called by qmgr and local. Reads one queue file and tables, writes below virtual_mailbox_base, has no network and
    starts no programs. With root it keeps the right to act as the owner of a mailbox, and nothing else.

Bugs
    An mbox file has no quota but its size (virtual_mailbox_limit).

See also
    Postfix virtual(8).
"""
