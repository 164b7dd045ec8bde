"""Applies a program's row of the table (``common/wire/programs.py``): once its sockets are there, before any input."""

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

from tubepost.common.wire.master import Birth
from tubepost.common.wire.programs import ALIASES, PROGRAMS, USER, Program, row_of
from tubepost.common.system import landlock, log, privileges, seccomp
from tubepost.common.config import Config
from tubepost.common.config.owners import is_apart, owner_of

# The interpreter, its libraries, time zones, resolver and account files: read by every program.
_COMMON_READS = ("/usr", "/lib", "/lib64", "/bin", "/etc", "/run/systemd/resolve", "/opt", "/dev/urandom", "/dev/null")
# Of /etc what the C library and Python look at.
_ETC = (
    *("passwd", "group", "nsswitch.conf", "hosts", "host.conf", "resolv.conf", "gai.conf", "services", "protocols"),
    *("localtime", "timezone", "ld.so.cache", "ssl/openssl.cnf", "pki/tls/openssl.cnf", "mime.types"),
)
# Of the forms of a table (common/tables).
_SUFFIXES = ("", ".db", ".lmdb", ".cdb", ".pag", ".dir")
# Who has passwords in files names them here, and auth alone has them in its row.
_PASSWORD_FILES = ("auth_backends", "auth_master_backends", "auth_directory")
ACCOUNT_FILES = ("/etc/passwd", "/etc/group")
"""Replaced by a new file when they change, which a program that may read no other of /etc can then not read."""
_FILE_CAPABILITIES = frozenset({privileges.CHOWN, privileges.DAC_OVERRIDE, privileges.FOWNER})
_AGENT_CAPABILITIES = _FILE_CAPABILITIES | {
    privileges.SETUID,
    privileges.SETGID,
    privileges.KILL,
    privileges.SYS_CHROOT,
}
# Whose account it is; of the others mail_owner's.
_PARAMETERS = {"protocol": "protocol_owner", "auth": "auth_owner"}
# Not there, or others'. With any other error the program ends: it would serve without what is its own.
_CLOSED = (FileNotFoundError, NotADirectoryError, PermissionError)
_UMASK = 0o077
# New mail may be read by mail_owner's group, for smtp: who reads it is decided by the directory (config/layout.py).
_UMASK_OF_MAIL = 0o027


def _seeing(permitted: int) -> frozenset[int]:
    """The right to read others' files; in a container that lacks it, to override (Landlock forbids the writing)."""
    wanted = privileges.DAC_READ_SEARCH
    return frozenset({wanted if permitted >> wanted & 1 else privileges.DAC_OVERRIDE})


def policy_of(program: str, config: Config | None = None) -> Program:
    """The row of a program by its name in master.cf, as it is with this configuration.

    What auth and the mailbox servers need depends on where users are known.
    """
    row = row_of(program)
    if config is None or row.account not in ("auth", "mailboxes"):
        return row
    kinds = {word.partition(":")[0] for word in (*config.auth_backends, *config.auth_master_backends)}
    files = [word.partition(":")[2] for word in (*config.auth_backends, *config.auth_master_backends)]
    if row.account == "mailboxes":
        # Users of this system have their mail at home, each as another account.
        return replace(row, anywhere=bool(kinds - {"accounts"}))
    reads = (*row.reads, *(os.path.dirname(path) for path in files if path.startswith("/")))
    return replace(
        row,
        reads=reads,
        # PAM's modules are this system's own: they count failures in files, ask other hosts, run programs.
        network=bool(kinds & {"ldap", "pgsql", "pam"} or config.oauth_introspection_url or ":" in config.oauth_jwks),
        # Its library binds each socket to an address of its own, to any port, before it connects.
        binds="ldap" in kinds,
        # They ask who runs them, too.
        root="pam" in kinds,
        programs="pam" in kinds,
        anywhere="pam" in kinds,
        # The accounts are in mail_owner's directory, which protocol_owner's group may enter; is there none, nobody may.
        sees=config.auth_owner != config.mail_owner and not is_apart(config),
    )


def is_program(program: str) -> bool:
    """Is there a program of this name in master.cf's last column?"""
    return program != USER and (program in PROGRAMS or program in ALIASES)


class Identity:
    """Who a program is to be. ``None`` for ``uid``: root in name, with ``capabilities`` only, or whoever we are."""

    __slots__ = ("capabilities", "gid", "groups", "uid")

    def __init__(
        self, uid: int | None, gid: int = -1, groups: tuple[int, ...] = (), capabilities: frozenset[int] = frozenset()
    ) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.capabilities = capabilities


def identity_of(program: str, unprivileged: bool, config: Config, permitted: int | None = None) -> Identity:
    """Whose account, when a master with root starts it. ``permitted``: its capabilities; None: ours.

    Raises ConfigError.
    """
    row = policy_of(program, config)
    if row.account == "mailboxes" and not row.anywhere and (ids := mailbox_owner(config)) is not None and ids[0]:
        return Identity(*ids)
    if row.root and not unprivileged:
        return Identity(None, capabilities=_AGENT_CAPABILITIES)
    parameter = _PARAMETERS.get(row.account, "mail_owner")
    owner = owner_of(config, parameter)
    assert owner is not None  # with root
    uid, gid = owner
    if not uid:
        # An instance for trying out, made by root: root in name only.
        return Identity(None, capabilities=_AGENT_CAPABILITIES if row.root else _FILE_CAPABILITIES)
    groups: tuple[int, ...] = ()
    if is_apart(config):
        apart = owner_of(config, "protocol_owner")
        queue = owner_of(config, "mail_owner")
        assert apart is not None and queue is not None
        if row.borrows:
            groups = (queue[1],)
        if row.account == "auth" and config.auth_owner != config.mail_owner:
            gid = apart[1]  # to enter data_directory, where the accounts are, and ask proxymap
    return Identity(
        uid,
        gid,
        groups,
        _seeing(privileges.permitted() if permitted is None else permitted) if row.sees else frozenset(),
    )


def account_of(birth: Birth, config: Config) -> int:
    """The uid that the kernel will tell a callee of this program, once it is confined. Raises ConfigError."""
    if os.geteuid() != 0:
        return os.geteuid()
    return identity_of(birth.program, birth.unprivileged, config).uid or 0


def confine(birth: Birth, config: Config) -> bool:
    """Drop what this program does not need. Raises OSError, ConfigError: a program that cannot be confined ends.

    True when it goes on reading ACCOUNT_FILES as they are now, and has to end when they change.
    """
    row = policy_of(birth.program, config)
    os.umask(_UMASK_OF_MAIL if birth.program == "cleanup" and is_apart(config) else _UMASK)
    is_root = os.geteuid() == 0
    privileges.limit_resources(config.process_memory_limit, row.programs)
    if is_root and not row.network and not privileges.leave_network():
        log.debug(
            "no network namespace: not permitted here; Landlock and seccomp alone keep this program from the network"
        )
    privileges.no_new_privileges()
    narrow = False
    if is_root:
        who = identity_of(birth.program, birth.unprivileged, config)
        narrow = is_narrow(row, who.uid is None)
        if who.uid is None:
            privileges.keep_capabilities(who.capabilities)
        else:
            privileges.become(who.uid, who.gid, who.capabilities, who.groups)
    if not row.anywhere:
        landlock.restrict(
            read=_readable(row, narrow, config),
            write=_expand(row.writes, config),
            connect=row.network,
            bind=row.binds,
        )
    seccomp.restrict(
        programs=row.programs,
        chroot=row.root and row.programs,
        network=row.network,
        # Who owns the queue owns more than the directories of this program.
        modes=row.anywhere or row.account not in ("queue", "protocol"),
    )
    return narrow


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


def _configured(config: Config, row: Program) -> tuple[list[str], list[str]]:
    """Directories of main.cf and of every table and file that it names; and these files."""
    found = {config.config_directory}
    files = []
    for name in config.explicit:
        if name in _PASSWORD_FILES and row.account != "auth":
            continue
        for word in (config.raw(name) or "").replace(",", " ").split():
            if "accounts:" in word:
                found.add(config.accounts_directory)
            kind, _, path = word.rpartition(":")
            # Of a directory of ours (queue_directory = /var/spool/tubepost) nothing follows for the one around it.
            if path.startswith("/") and (kind or os.path.isfile(path)) and not os.path.isdir(path):
                files.append(path)
                found.add(os.path.dirname(path))
                # A link may lead elsewhere (certificates do): it is the real place that counts.
                found.add(os.path.dirname(os.path.realpath(path)))
    return sorted(path for path in found if path not in ("/", "")), files


def _secret(config: Config) -> list[str]:
    """Where mail, passwords and what programs keep are: read by who has them in its row, whatever they are below of."""
    paths = [
        config.queue_directory,
        config.data_directory,
        config.auth_directory,
        config.virtual_mailbox_base,
        config.mail_spool_directory,
        config.maillog_file,
    ]
    return [os.path.realpath(path) for path in paths if path.startswith("/") and not path.startswith("/dev/")]


def around(path: str, secret: Sequence[str]) -> Iterator[str]:
    """``path``; or, when something secret is below, all in it but that. Nothing of what is secret itself."""
    real = os.path.realpath(path)
    inside = [place for place in secret if place == real or place.startswith(real.rstrip("/") + "/")]
    if not inside:
        if not any(real.startswith(place + "/") for place in secret):
            yield path
        return
    if real in secret:
        return
    try:
        names = os.listdir(real)
    except _CLOSED:
        return
    for name in names:
        if not os.path.islink(entry := os.path.join(real, name)):
            yield from around(entry, inside)


def _readable(row: Program, narrow: bool, config: Config) -> list[str]:
    """What every program reads, without what is secret to it."""
    common = [*_COMMON_READS, *_interpreter()]
    configured, files = _configured(config, row)
    if narrow:
        common.remove("/etc")
        common += [f"/etc/{name}" for name in _ETC]
        configured = [path for path in configured if path != "/etc"]
        if row.sees:
            # What it reads of the configuration it has read; what others may read of it is no secret.
            configured = [name for path in configured for name in _open_to_all(path)]
    secret = _secret(config)
    found = [part for path in (*common, *configured) for part in around(path, secret)]
    if config.accounts_directory in configured:
        found.append(config.accounts_directory)
    # A table that stands among what is secret, in data_directory: that alone.
    hidden = [path for path in files if not any(around(os.path.dirname(path), secret))]
    found += [entry for path in hidden for suffix in _SUFFIXES if os.path.isfile(entry := path + suffix)]
    return [*found, *row.reads]


def _open_to_all(folder: str) -> list[str]:
    """Files in it that any account may read. Raises OSError."""
    try:
        with os.scandir(folder) as entries:
            return [entry.path for entry in entries if entry.is_file() and entry.stat().st_mode & stat.S_IROTH]
    except _CLOSED:
        return []


def is_narrow(row: Program, stays_root: bool) -> bool:
    """Reads files whoever owns them, bound by Landlock alone: then not the system's passwords and keys."""
    return not row.anywhere and (row.sees or (row.root and stays_root))


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
