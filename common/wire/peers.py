"""Who may call whom, with which messages: the one table, enforced by the callee and printed by ``tubepost services``.

Callers and callees are *programs* (the command column of master.cf). A process that no master of this instance started
is ``user``; what a user may do is further limited by the callee (authorized_mailq_users, authorized_flush_users).
"""

from collections.abc import Mapping

from tubepost.common.wire import (
    anvil,
    auth,
    base,
    bounce,
    cleanup,
    delivery,
    flush,
    notify,
    proxymap,
    qmgr,
    rewrite,
    showq,
    trigger,
    verify,
)

USER = "user"

_ASKS_REWRITE = ("cleanup", "qmgr", "smtpd", "local", "virtual", "verify", "flush", "bounce")
_CALLS: tuple[tuple[str, str, tuple[type[base.Message], ...], tuple[str, ...]], ...] = (
    # callee, protocol, messages, callers
    ("cleanup", cleanup.PROTOCOL, (cleanup.Deposit,), ("smtpd", "pickup", "bounce", "local", "virtual", "verify")),
    # Notices to the postmaster.
    ("cleanup", cleanup.PROTOCOL, (cleanup.Deposit,), ("smtp", "lmtp")),
    ("rewrite", rewrite.PROTOCOL, (rewrite.Batch, rewrite.Rewrite, rewrite.Resolve), _ASKS_REWRITE),
    ("qmgr", qmgr.PROTOCOL, (qmgr.Arrived,), ("cleanup",)),
    ("qmgr", qmgr.PROTOCOL, (qmgr.Flush, qmgr.FlushMessage), ("flush", "smtpd", USER)),
    ("qmgr", qmgr.PROTOCOL, (qmgr.Scan,), ("flush", USER)),
    ("local", delivery.PROTOCOL, (delivery.Job,), ("qmgr", "smtp")),
    ("virtual", delivery.PROTOCOL, (delivery.Job,), ("qmgr", "smtp")),
    ("smtp", delivery.PROTOCOL, (delivery.Job,), ("qmgr",)),
    ("lmtp", delivery.PROTOCOL, (delivery.Job,), ("qmgr", "local", "smtp")),
    ("pipe", delivery.PROTOCOL, (delivery.Job,), ("qmgr", "local", "smtp")),
    ("virtual", delivery.PROTOCOL, (delivery.Job,), ("local",)),
    ("smtp", delivery.PROTOCOL, (delivery.Job,), ("local", "smtp")),
    ("error", delivery.PROTOCOL, (delivery.Job,), ("qmgr", "local", "smtp")),
    ("discard", delivery.PROTOCOL, (delivery.Job,), ("qmgr", "local", "smtp")),
    ("bounce", bounce.PROTOCOL, (bounce.Append, bounce.Send, bounce.SendOne, bounce.Purge), ("qmgr",)),
    ("bounce", bounce.PROTOCOL, (bounce.Append, bounce.Purge), ("cleanup",)),
    ("bounce", bounce.PROTOCOL, (bounce.SendOne,), ("pickup",)),
    ("bounce", bounce.PROTOCOL, (bounce.SendOne,), ("local",)),
    ("anvil", anvil.PROTOCOL, (anvil.Connect, anvil.Disconnect, anvil.Count), ("smtpd",)),
    ("verify", verify.PROTOCOL, (verify.Query,), ("smtpd",)),
    ("verify", verify.PROTOCOL, (verify.Update,), ("qmgr",)),
    ("flush", flush.PROTOCOL, (flush.Add,), ("qmgr",)),
    ("flush", flush.PROTOCOL, (flush.SendSite,), ("smtpd", USER)),
    ("flush", flush.PROTOCOL, (flush.Refresh,), (USER,)),
    ("showq", showq.PROTOCOL, (showq.List,), (USER,)),
    (
        "proxymap",
        proxymap.PROTOCOL,
        (proxymap.Lookup,),
        ("smtpd", "cleanup", "rewrite", "local", "virtual", "smtp", "lmtp", "lmtpd", "qmgr", "pickup"),
    ),
    (
        "auth",
        auth.PROTOCOL,
        (auth.Mechanisms, auth.Begin, auth.Continue, auth.Forget),
        ("smtpd", "imapd", "pop3d", "lmtpd", "authclient"),
    ),
    ("auth", auth.PROTOCOL, (auth.Lookup,), ("smtpd", "imapd", "pop3d", "lmtpd", "local", "virtual", USER)),
    ("notify", notify.PROTOCOL, (notify.Changed,), ("virtual", "local", "lmtpd", "imapd", "pop3d", "indexer", USER)),
    ("notify", notify.PROTOCOL, (notify.Subscribe,), ("imapd",)),
    ("indexer", notify.PROTOCOL, (notify.Changed,), ("notify",)),
    ("proxymap", proxymap.PROTOCOL, (proxymap.Update, proxymap.Delete), ("verify", "smtpd")),
    ("pickup", trigger.PROTOCOL, (trigger.Wake,), (USER,)),
    ("qmgr", trigger.PROTOCOL, (trigger.Wake,), (USER,)),
)


def _table() -> dict[str, dict[bytes, frozenset[str]]]:
    table: dict[str, dict[bytes, frozenset[str]]] = {}
    for callee, protocol, messages, callers in _CALLS:
        for message in messages:
            name = wire_name(protocol, message)
            known = table.setdefault(callee, {})
            known[name] = known.get(name, frozenset()) | frozenset(callers)
    return table


def wire_name(protocol: str, message: type[base.Message]) -> bytes:
    """How a message is named on the wire: ``cleanup/1 Deposit``."""
    return f"{protocol} {message.__name__}".encode()


CALLS: Mapping[str, Mapping[bytes, frozenset[str]]] = _table()
"""callee -> wire name of the message -> callers."""
