"""What each program may touch: one table, applied by ``confine`` once the sockets are inherited, before any input.

Printed by ``tubepost services``. Directories are below the queue directory unless they are parameters (``$…``).
"""

import os
import pwd
import sys
from dataclasses import dataclass, replace

from tubepost.common.wire.master import Birth
from tubepost.common.system import landlock, log, privileges, seccomp
from tubepost.common.config import Config


@dataclass(frozen=True, slots=True)
class Policy:
    """``root``: keeps the right to act as recipients (where the master has root and master.cf says unpriv n).

    ``sees``: may read the files of its directories whoever owns them. ``network``: may connect to other hosts;
    ``binds``: from a port that it asks for.
    ``programs``: may start programs. ``anywhere``: may write whatever its account may write (local delivers into homes
    and runs the users' commands). ``mailboxes``: is the owner of the virtual mailboxes where they all have one owner.
    """

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    network: bool = False
    binds: bool = False
    programs: bool = False
    root: bool = False
    sees: bool = False
    anywhere: bool = False
    mailboxes: bool = False


POLICIES: dict[str, Policy] = {
    "smtpd": Policy(network=True),
    # What people post belongs to them, and nobody else may read it.
    "pickup": Policy(writes=("maildrop",), sees=True),
    "cleanup": Policy(writes=("incoming",)),
    "rewrite": Policy(),
    "qmgr": Policy(writes=("incoming", "active", "deferred", "hold", "corrupt", "flush")),
    "local": Policy(reads=("active",), programs=True, root=True, anywhere=True),
    "virtual": Policy(reads=("active",), writes=("$virtual_mailbox_base",), root=True),
    "imapd": Policy(writes=("$virtual_mailbox_base",), root=True, mailboxes=True),
    "pop3d": Policy(writes=("$virtual_mailbox_base",), root=True, mailboxes=True),
    "lmtpd": Policy(writes=("$virtual_mailbox_base",), root=True, mailboxes=True),
    "indexer": Policy(writes=("$virtual_mailbox_base",), root=True, mailboxes=True),
    "notify": Policy(),
    "smtp": Policy(reads=("active",), network=True),
    "lmtp": Policy(reads=("active",), network=True),
    "pipe": Policy(reads=("active",), network=True, programs=True, root=True, anywhere=True),
    "error": Policy(),
    "discard": Policy(),
    "bounce": Policy(reads=("active", "maildrop"), writes=("bounce", "defer", "trace"), sees=True),
    "verify": Policy(writes=("$data_directory",)),
    "flush": Policy(reads=("deferred", "active", "incoming", "hold"), writes=("flush",)),
    "anvil": Policy(),
    "authclient": Policy(),
    # Network only where a backend is elsewhere: see policy_of.
    "auth": Policy(reads=("/run",), writes=("$accounts_directory", "$auth_directory")),
    "showq": Policy(reads=("maildrop", "incoming", "active", "deferred", "hold", "defer", "bounce"), sees=True),
    "proxymap": Policy(writes=("$data_directory",), network=True),
    "log": Policy(writes=("$maillog_directory",), root=True),
}
_ALIASES = {"trivial-rewrite": "rewrite", "postlogd": "log", "retry": "error"}
# The interpreter, its libraries, time zones, resolver and account files: read by every program.
_COMMON_READS = ("/usr", "/lib", "/lib64", "/bin", "/etc", "/run/systemd/resolve", "/opt", "/dev/urandom", "/dev/null")
_FILE_CAPABILITIES = frozenset({privileges.CHOWN, privileges.DAC_OVERRIDE, privileges.FOWNER})
_AGENT_CAPABILITIES = _FILE_CAPABILITIES | {
    privileges.SETUID,
    privileges.SETGID,
    privileges.KILL,
    privileges.SYS_CHROOT,
}


def _seeing() -> frozenset[int]:
    """The right to read others' files; in a container that lacks it, to override (Landlock forbids the writing)."""
    wanted = privileges.DAC_READ_SEARCH
    return frozenset({wanted if privileges.permitted() >> wanted & 1 else privileges.DAC_OVERRIDE})


def policy_of(program: str, config: Config | None = None) -> Policy:
    """Of a program by its name in master.cf. An unknown one gets the least.

    What auth and the mailbox servers need depends on where users are known.
    """
    policy = POLICIES.get(_ALIASES.get(program, program), Policy())
    if config is None or not (program == "auth" or policy.mailboxes):
        return policy
    kinds = {word.partition(":")[0] for word in (*config.auth_backends, *config.auth_master_backends)}
    files = [word.partition(":")[2] for word in (*config.auth_backends, *config.auth_master_backends)]
    if policy.mailboxes:
        # Users of this system have their mail at home, each as another account.
        return replace(policy, anywhere=bool(kinds - {"accounts"}))
    reads = (*policy.reads, *(os.path.dirname(path) for path in files if path.startswith("/")))
    return replace(
        policy,
        reads=reads,
        # PAM's modules are this system's own: they count failures in files, ask other hosts, run programs.
        network=bool(kinds & {"ldap", "pgsql", "pam"} or config.oauth_introspection_url or ":" in config.oauth_jwks),
        # Its library binds each socket to an address of its own, to any port, before it connects.
        binds="ldap" in kinds,
        # They ask who runs them, too.
        root="pam" in kinds,
        programs="pam" in kinds,
        anywhere="pam" in kinds,
        # The accounts are in mail_owner's directory.
        sees=config.auth_owner != config.mail_owner,
    )


def is_program(program: str) -> bool:
    """Is there a program of this name in master.cf's last column?"""
    return program in POLICIES or program in _ALIASES


def confine(birth: Birth, config: Config) -> None:
    """Drop what this program does not need. Raises OSError, ConfigError: a program that cannot be confined ends."""
    policy = policy_of(birth.program, config)
    os.umask(0o077)
    is_root = os.geteuid() == 0
    privileges.limit_resources(config.process_memory_limit)
    if is_root and not policy.network and not privileges.leave_network():
        log.debug("no network namespace: not permitted here; Landlock alone keeps this program from the network")
    privileges.no_new_privileges()
    if is_root:
        _change_account(birth, config, policy)
    if not policy.anywhere:
        landlock.restrict(
            read=(*_COMMON_READS, *_interpreter(), *_configured(config), *policy.reads),
            write=_expand(policy.writes, config),
            connect=policy.network,
            bind=policy.binds,
        )
    seccomp.restrict(programs=policy.programs, chroot=policy.root and policy.programs)


def _change_account(birth: Birth, config: Config, policy: Policy) -> None:
    if policy.mailboxes and not policy.anywhere and (ids := mailbox_owner(config)) is not None and ids[0]:
        privileges.become(*ids)
        return
    if policy.root and not birth.unprivileged:
        privileges.keep_capabilities(_AGENT_CAPABILITIES)
        return
    parameter = "auth_owner" if birth.program == "auth" and config.auth_owner else "mail_owner"
    name = config.auth_owner if parameter == "auth_owner" else config.mail_owner
    try:
        owner = pwd.getpwnam(name)
    except KeyError:
        raise config.bad_value(parameter, f"there is no account {name}") from None
    if owner.pw_uid:
        privileges.become(owner.pw_uid, owner.pw_gid, _seeing() if policy.sees else frozenset())
    else:
        # An instance for trying out, made by root: root in name only.
        privileges.keep_capabilities(_AGENT_CAPABILITIES if policy.root else _FILE_CAPABILITIES)


def mailbox_owner(config: Config) -> tuple[int, int] | None:
    """uid and gid of all virtual mailboxes, when they have one owner (``static:`` tables); None otherwise."""
    ids = []
    for name in ("virtual_uid_maps", "virtual_gid_maps"):
        specs = config.get(name)
        kind, _, value = specs[0].partition(":") if len(specs) == 1 else ("", "", "")
        if kind != "static" or not value.isdigit():
            return None
        ids.append(int(value))
    return ids[0], ids[1]


def _interpreter() -> list[str]:
    """Where Python and its packages are, also from a checkout."""
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    return [sys.prefix, sys.base_prefix, here, *(path for path in sys.path if path)]


def _configured(config: Config) -> list[str]:
    """Directories of main.cf and of every table that it names."""
    found = {config.config_directory}
    for name in config.explicit:
        for word in (config.raw(name) or "").replace(",", " ").split():
            if "accounts:" in word:
                found.add(config.accounts_directory)
            path = word.rpartition(":")[2]
            if path.startswith("/") and not path.endswith("/"):
                found.add(os.path.dirname(path))
                # A link may lead elsewhere (certificates do): it is the real place that counts.
                found.add(os.path.dirname(os.path.realpath(path)))
    return sorted(path for path in found if path not in ("/", ""))


def _expand(paths: tuple[str, ...], config: Config) -> list[str]:
    found = []
    for path in paths:
        if path == "$virtual_mailbox_base":
            found.append(config.virtual_mailbox_base or "/")
        elif path in ("$data_directory", "$accounts_directory", "$auth_directory"):
            found.append(str(config.get(path[1:])))
        elif path == "$maillog_directory":
            if config.maillog_file.startswith("/") and config.maillog_file != "/dev/stdout":
                found.append(os.path.dirname(config.maillog_file))
        else:
            found.append(path)
    return found
