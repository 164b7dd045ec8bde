"""All programs in one table, a row each: whose account it runs as, what it may touch, whom it may call with what.

The skeleton confines a program by its row (``common/skeleton/privileges.py``), the bus refuses a caller by the caller's
row (``common/bus/server.py``), the master gives each socket the mode that the callers' rows need, and ``tubepost
services --privileges`` prints the table beside what the kernel says of the processes that run. Pure.

Programs go by the command column of master.cf. ``user`` is a process that no master of this instance started: people's
commands; what a person may ask is further limited by the callee (authorized_mailq_users, authorized_flush_users).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

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

Account = Literal["queue", "protocol", "mailboxes", "auth", "recipient"]
"""queue: mail_owner. protocol: protocol_owner, who owns nothing. mailboxes: who virtual_uid_maps names, where all
mailboxes have one owner. auth: auth_owner. recipient: root, with no more power than it takes to act as a recipient."""

Messages = tuple[type[base.Message], ...]


@dataclass(frozen=True, slots=True)
class Program:
    """A row. Directories are below queue_directory, or parameters (``$…``). Every program reads the configuration."""

    account: Account
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    accepts: bool = False
    """Network in: serves connections of other hosts, on sockets that the master opened."""
    network: bool = False
    """Network out: may connect to other hosts."""
    binds: bool = False
    """… from a port that it asks for."""
    programs: bool = False
    """May start programs."""
    root: bool = False
    """Keeps the right to act as recipients, where the master has root and master.cf says unpriv n."""
    sees: bool = False
    """May read the files of its directories whoever owns them."""
    borrows: bool = False
    """Is in mail_owner's group, the only program in a group besides its own: reads ``active``, and owns nothing."""
    anywhere: bool = False
    """May write whatever its account may: local delivers into homes, and runs the users' commands."""
    calls: Mapping[str, Messages] = field(default_factory=dict)
    """Callee to messages."""


_REWRITE: Messages = (rewrite.Batch, rewrite.Rewrite, rewrite.Resolve)
_DEPOSIT: Messages = (cleanup.Deposit,)
_JOB: Messages = (delivery.Job,)
_TABLES: Messages = (proxymap.Lookup,)
_LOGIN: Messages = (auth.Mechanisms, auth.Begin, auth.Continue, auth.Forget)
_WHO: Messages = (auth.Lookup,)
_CHANGED: Messages = (notify.Changed,)

_SMTP = Program(
    account="protocol",
    reads=("active",),
    network=True,
    borrows=True,
    calls={
        # Notices to the postmaster.
        "cleanup": _DEPOSIT,
        "proxymap": _TABLES,
        # best_mx_transport, fallback transports.
        **dict.fromkeys(("local", "virtual", "smtp", "lmtp", "pipe", "error", "discard"), _JOB),
    },
)

PROGRAMS: Mapping[str, Program] = {
    # -- face the network: own nothing ------------------------------------------------------------------------------
    "smtpd": Program(
        account="protocol",
        accepts=True,
        network=True,
        calls={
            "cleanup": _DEPOSIT,
            "rewrite": _REWRITE,
            "anvil": (anvil.Connect, anvil.Disconnect, anvil.Count),
            "verify": (verify.Query,),
            "flush": (flush.SendSite,),
            "qmgr": (qmgr.Flush, qmgr.FlushMessage),
            "auth": (*_LOGIN, *_WHO),
            "proxymap": (proxymap.Lookup, proxymap.Update, proxymap.Delete),
        },
    ),
    "smtp": _SMTP,
    "lmtp": _SMTP,
    # -- answer questions: own nothing ------------------------------------------------------------------------------
    "rewrite": Program(account="protocol", calls={"proxymap": _TABLES}),
    "anvil": Program(account="protocol"),
    "notify": Program(account="protocol", calls={"indexer": _CHANGED}),
    "authclient": Program(account="protocol", calls={"auth": _LOGIN}),
    "error": Program(account="protocol", calls={"proxymap": _TABLES}),
    "discard": Program(account="protocol", calls={"proxymap": _TABLES}),
    # -- own the queue ----------------------------------------------------------------------------------------------
    # What people post belongs to them, and nobody else may read it.
    "pickup": Program(
        account="queue",
        writes=("maildrop",),
        sees=True,
        calls={"cleanup": _DEPOSIT, "bounce": (bounce.SendOne,)},
    ),
    "cleanup": Program(
        account="queue",
        writes=("incoming", "hold"),
        calls={
            "rewrite": _REWRITE,
            "qmgr": (qmgr.Arrived,),
            "bounce": (bounce.Append, bounce.Purge),
            "proxymap": _TABLES,
        },
    ),
    "qmgr": Program(
        account="queue",
        # Of bounce, defer and trace it removes what a crash left there.
        writes=("incoming", "active", "deferred", "hold", "corrupt", "flush", "bounce", "defer", "trace"),
        calls={
            "rewrite": _REWRITE,
            "bounce": (bounce.Append, bounce.Send, bounce.SendOne, bounce.Purge),
            "verify": (verify.Update,),
            "flush": (flush.Add,),
            "proxymap": _TABLES,
            **dict.fromkeys(("local", "virtual", "smtp", "lmtp", "pipe", "error", "discard"), _JOB),
        },
    ),
    "bounce": Program(
        account="queue",
        reads=("active", "maildrop"),
        writes=("bounce", "defer", "trace"),
        sees=True,
        calls={"cleanup": _DEPOSIT, "rewrite": _REWRITE},
    ),
    "flush": Program(
        account="queue",
        reads=("deferred", "active", "incoming", "hold"),
        writes=("flush",),
        calls={"qmgr": (qmgr.Flush, qmgr.FlushMessage, qmgr.Scan), "rewrite": _REWRITE, "proxymap": _TABLES},
    ),
    "showq": Program(
        account="queue",
        reads=("maildrop", "incoming", "active", "deferred", "hold", "defer", "bounce"),
        sees=True,
        calls={"proxymap": _TABLES},
    ),
    # -- own files of theirs ----------------------------------------------------------------------------------------
    "verify": Program(
        account="queue",
        writes=("$data_directory",),
        calls={
            "cleanup": _DEPOSIT,
            "rewrite": _REWRITE,
            "proxymap": (proxymap.Lookup, proxymap.Update, proxymap.Delete),
        },
    ),
    "proxymap": Program(account="queue", writes=("$data_directory",), network=True),
    "log": Program(account="queue", writes=("$maillog_directory",), root=True),
    # -- deliver as the recipient -----------------------------------------------------------------------------------
    "local": Program(
        account="recipient",
        reads=("active",),
        programs=True,
        root=True,
        anywhere=True,
        calls={
            "cleanup": _DEPOSIT,
            "rewrite": _REWRITE,
            "bounce": (bounce.SendOne,),
            "auth": _WHO,
            "notify": _CHANGED,
            "proxymap": _TABLES,
            **dict.fromkeys(("virtual", "smtp", "lmtp", "pipe", "error", "discard"), _JOB),
        },
    ),
    "virtual": Program(
        account="recipient",
        reads=("active",),
        writes=("$virtual_mailbox_base",),
        root=True,
        calls={
            "cleanup": _DEPOSIT,
            "rewrite": _REWRITE,
            "auth": _WHO,
            "notify": _CHANGED,
            "proxymap": _TABLES,
        },
    ),
    "pipe": Program(
        account="recipient",
        reads=("active",),
        network=True,
        programs=True,
        root=True,
        anywhere=True,
        calls={"proxymap": _TABLES},
    ),
    # -- own the mailboxes ------------------------------------------------------------------------------------------
    "imapd": Program(
        account="mailboxes",
        writes=("$virtual_mailbox_base",),
        accepts=True,
        root=True,
        calls={
            "auth": (*_LOGIN, *_WHO),
            "anvil": (anvil.Serves,),
            "notify": (notify.Changed, notify.Subscribe),
        },
    ),
    "pop3d": Program(
        account="mailboxes",
        writes=("$virtual_mailbox_base",),
        accepts=True,
        root=True,
        calls={"auth": (*_LOGIN, *_WHO), "notify": _CHANGED},
    ),
    "lmtpd": Program(
        account="mailboxes",
        writes=("$virtual_mailbox_base",),
        accepts=True,
        root=True,
        calls={"auth": (*_LOGIN, *_WHO), "notify": _CHANGED, "proxymap": _TABLES},
    ),
    "indexer": Program(account="mailboxes", writes=("$virtual_mailbox_base",), root=True, calls={"notify": _CHANGED}),
    # -- owns the passwords -----------------------------------------------------------------------------------------
    # Network only where a backend is elsewhere: see policy_of in skeleton/privileges.py.
    "auth": Program(
        account="auth",
        reads=("/run",),
        writes=("$accounts_directory", "$auth_directory"),
        calls={"proxymap": _TABLES},
    ),
    # -- people's commands: not confined by us ----------------------------------------------------------------------
    USER: Program(
        account="recipient",
        anywhere=True,
        programs=True,
        network=True,
        calls={
            "qmgr": (qmgr.Flush, qmgr.FlushMessage, qmgr.Scan, trigger.Wake),
            "pickup": (trigger.Wake,),
            "flush": (flush.SendSite, flush.Refresh),
            "showq": (showq.List,),
            "auth": _WHO,
            "notify": _CHANGED,
        },
    ),
}

ALIASES: Mapping[str, str] = {"trivial-rewrite": "rewrite", "postlogd": "log", "retry": "error"}
"""Postfix's names of our programs."""

LEAST = Program(account="protocol")
"""Of a program that the table does not know."""

_PROTOCOLS = {
    conversation.__name__: conversation.PROTOCOL
    for conversation in (
        anvil, auth, bounce, cleanup, delivery, flush, notify, proxymap, qmgr, rewrite, showq, trigger, verify
    )
}  # fmt: skip


def row_of(program: str) -> Program:
    """Of a program by its name in master.cf. An unknown one gets the least."""
    return PROGRAMS.get(ALIASES.get(program, program), LEAST)


def callers_of(program: str) -> frozenset[str]:
    """Who may ask it anything."""
    callee = ALIASES.get(program, program)
    return frozenset(caller for caller, row in PROGRAMS.items() if callee in row.calls)


def wire_name(protocol: str, message: type[base.Message]) -> bytes:
    """How a message is named on the wire: ``cleanup/1 Deposit``."""
    return f"{protocol} {message.__name__}".encode()


def _calls() -> dict[str, dict[bytes, frozenset[str]]]:
    table: dict[str, dict[bytes, frozenset[str]]] = {}
    for caller, row in PROGRAMS.items():
        for callee, messages in row.calls.items():
            for message in messages:
                name = wire_name(_PROTOCOLS[message.__module__], message)
                known = table.setdefault(callee, {})
                known[name] = known.get(name, frozenset()) | {caller}
    return table


CALLS: Mapping[str, Mapping[bytes, frozenset[str]]] = _calls()
"""The same read by the callee: callee -> wire name of the message -> callers."""
