"""verify - keeps what is known of addresses: deliverable or not

Summary
    verify  unix  -  -  n  -  1  verify

Description
    smtpd asks whether an address can be delivered to (reject_unverified_recipient, reject_unverified_sender). What is
    not known is found out by a *probe*: a message that takes the road of all mail to the last step before delivery;
    qmgr then tells the outcome. Until it is known the answer is ``todo``. A finding is used until its
    address_verify_positive_expire_time or negative_expire_time, and probed anew in the background from its refresh
    time on. One failed probe does not spoil a good finding before that expires.

    Findings are kept in the file that address_verify_map names, with ``.sqlite`` added (types hash, btree, cdb, dbm,
    sqlite: they all mean this own file); of the types lmdb, memcache, internal and proxy the table itself is used. A
    cache that is damaged is set aside, and a new one is begun.

Standards
    None.

Security
    Answers smtpd and qmgr. Writes below data_directory, has no network. Strangers choose the addresses: probes under
    way are limited by address_verify_pending_request_limit.

Bugs
    A dictionary attack fills the cache until its negative findings expire.

See also
    Postfix verify(8), ADDRESS_VERIFICATION_README.
"""
