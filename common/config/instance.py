"""Writes a new instance: configuration, queue, mailboxes and log under one directory (``tubepost init``)."""

import grp
import ipaddress
import os
import pwd
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from tubepost.common.accounts import Directory, Passwords
from tubepost.common.accounts.hashing import Cost, store
from tubepost.common.config import edit, master_cf
from tubepost.common.config.owners import make_directories, owner_of
from tubepost.common.config.settings import load
from tubepost.common.net import selfsigned

PORTS = {"smtp": 25, "submission": 587, "submissions": 465, "imap": 143, "imaps": 993, "pop3": 110, "pop3s": 995}
"""Of the servers in the shipped master.cf, by service."""
EMBEDDED_PORTS = {
    "smtp": 2525,
    "submission": 2587,
    "submissions": 2465,
    "imap": 2143,
    "imaps": 2993,
    "pop3": 2110,
    "pop3s": 2995,
}
"""The same of an embedded instance, before the offset."""

_DOMAIN = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
_ACCOUNTS = ("alice", "bob")


@dataclass(frozen=True, slots=True)
class Instance:
    """What ``write_instance`` made. Paths are absolute."""

    root: str
    config_directory: str
    queue_directory: str
    data_directory: str
    mail_directory: str
    log_directory: str
    domain: str
    smtp: str
    """``host:port`` that SMTP is served on; ``:port`` for all addresses."""
    owner: str
    credentials: dict[str, str]
    """Address to password, of the accounts made or found."""
    written: tuple[str, ...] = field(default=())
    """Files that were not there before."""


def write_instance(
    root: str,
    *,
    domain: str = "example.test",
    port_offset: int = 0,
    embedded: bool = True,
    listen: str | None = None,
    smtp_port: int | None = None,
    standard_ports: bool = False,
    ports: Mapping[str, int] | None = None,
    cost: Cost | None = None,
) -> Instance:
    """Make an instance under ``root``. Files that exist are left as they are, so a second call changes nothing.

    Embedded: everything on 127.0.0.1 and high ports, two accounts of ``domain`` with random passwords, log to standard
    output. Otherwise: port 25 of all addresses, no accounts, log to a file. ``listen``, ``smtp_port`` and
    ``standard_ports`` (25, 143 … in an embedded instance) change that.
    ``ports``: of the other services of PORTS, in place of those there; a service that it lacks is left out.
    ``cost``: of hashing the two passwords; tests have it cheap.
    The alias table must be built afterwards (newaliases). Raises ValueError for a bad domain or port, OSError,
    ConfigError, AccountsError.
    """
    if not _DOMAIN.fullmatch(domain):
        raise ValueError(f'"{domain}" is not a domain name')
    usual = EMBEDDED_PORTS if embedded and not standard_ports else PORTS
    known = {service: number + port_offset for service, number in usual.items()}
    if ports is not None:
        known = {"smtp": known["smtp"], **ports}
    if smtp_port is not None:
        known["smtp"] = smtp_port
    for number in known.values():
        if not 0 < number < 65536:
            raise ValueError(f"there is no port {number}")
    port = known["smtp"]
    base = Path(root).resolve()
    if any(character.isspace() or character in ",{}$#" for character in str(base)):
        raise ValueError(f'"{base}" cannot hold an instance: its name has white space or one of , {{ }} $ #')
    host = listen if listen is not None else ("127.0.0.1" if embedded else "")
    accounts = accounts_of_system()
    owner, uid, gid = accounts.queue
    mail_uid, mail_gid = accounts.mailboxes[1:]
    written: list[str] = []
    base.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name, mode in (
        ("conf", 0o755),
        ("spool", 0o755),
        ("data", 0o700),
        ("auth", 0o700),
        ("mail", 0o711),
        ("log", 0o700),
    ):
        ids = {"mail": (mail_uid, mail_gid), "auth": accounts.auth[1:]}.get(name, (uid, gid))
        _make_directory(base / name, mode, *ids, owned=name in ("data", "auth", "mail", "log"))
    conf = base / "conf"

    def write(name: str, text: Callable[[], str], mode: int = 0o644) -> None:
        path = conf / name if "/" not in name else base / name.lstrip("/")
        if _write_new(path, text(), mode):
            written.append(str(path))

    group = grp.getgrgid(gid).gr_name if _has_group(gid) else str(gid)
    write("main.cf", lambda: _main(base, domain, group, accounts, embedded=embedded))
    write("master.cf", lambda: _master(host, known))
    write("tls.pem", lambda: _certificate(domain, host), 0o600)
    write("aliases", lambda: _aliases(domain, embedded))
    credentials: dict[str, str] = {}
    if embedded:
        write("vmailbox", lambda: _VMAILBOX)
        write("virtual", lambda: _VIRTUAL)
        write("/credentials.txt", lambda: _credentials(domain), 0o600)
        credentials = read_credentials(str(base / "credentials.txt"))
    if str(conf / "main.cf") in written:
        try:
            _make_accounts(str(conf), domain, credentials, cost or Cost())
        except BaseException:
            # By it the next try knows that they are still to be made.
            os.unlink(conf / "main.cf")
            raise
    return Instance(
        root=str(base),
        config_directory=str(conf),
        queue_directory=str(base / "spool"),
        data_directory=str(base / "data"),
        mail_directory=str(base / "mail"),
        log_directory=str(base / "log"),
        domain=domain,
        smtp=f"{host}:{port}",
        owner=owner,
        credentials=credentials,
        written=tuple(written),
    )


def read_credentials(path: str) -> dict[str, str]:
    """Address to password, of a file with ``address password`` a line. Raises OSError."""
    pairs = (line.split(None, 1) for line in Path(path).read_text(encoding="utf-8").splitlines())
    return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}


def shipped(name: str) -> str:
    """The text of main.cf, master.cf or aliases as shipped."""
    return resources.files("tubepost.conf").joinpath(name).read_text(encoding="utf-8")


def _main(base: Path, domain: str, group: str, accounts: "Accounts", *, embedded: bool) -> str:
    owner = accounts.queue[0]
    _, uid, gid = accounts.mailboxes
    changes = {
        "myhostname": f"mail.{domain}",
        "mydomain": domain,
        "queue_directory": str(base / "spool"),
        "data_directory": str(base / "data"),
        "auth_directory": str(base / "auth"),
        "mail_owner": owner,
        "setgid_group": group,
        "maillog_file": "/dev/stdout" if embedded else str(base / "log" / "mail.log"),
        "smtpd_tls_chain_files": "$config_directory/tls.pem",
        "virtual_mailbox_domains": "accounts:domains",
        "virtual_mailbox_maps": "accounts:mailboxes",
        "virtual_mailbox_quota_maps": "accounts:quotas",
        "virtual_alias_maps": "accounts:aliases",
        "virtual_mailbox_base": str(base / "mail"),
        "virtual_uid_maps": f"static:{uid}",
        "virtual_gid_maps": f"static:{gid}",
    }
    for name, account in (("protocol_owner", accounts.protocol), ("auth_owner", accounts.auth)):
        if account != accounts.queue:
            changes[name] = account[0]
    if uid < 100:
        changes["virtual_minimum_uid"] = str(max(uid, 1))
    if not embedded:
        changes["maillog_file_prefixes"] = f"/var, /dev/stdout, {base / 'log'}"
    else:
        changes |= {
            "inet_interfaces": "loopback-only",
            # Tables of one's own may stand beside the accounts.
            "virtual_mailbox_maps": "accounts:mailboxes, texthash:$config_directory/vmailbox",
            "virtual_alias_maps": "accounts:aliases, texthash:$config_directory/virtual",
            "mail_spool_directory": f"{base / 'mail' / 'local'}/",
            # Not who faces the network: a command of an alias could send its processes signals.
            "default_privs": owner if accounts.protocol == accounts.queue or not _account("nobody") else "nobody",
            "queue_minfree": "0",
        }
    return _set_shipped(shipped("main.cf"), changes)


def _set_shipped(text: str, changes: dict[str, str]) -> str:
    """Set values where the shipped file shows them commented out, below the comment that explains them."""
    for name in changes:
        text = re.sub(rf"(?m)^#{re.escape(name)} = .*$", f"{name} =", text, count=1)
    return edit.set_values(text, changes)[0]


def _master(host: str, ports: Mapping[str, int]) -> str:
    """The shipped file with these ports; a server without one is commented out."""

    def change(words: master_cf.Words) -> str | None:
        service, kind = words[:2]
        if kind != "inet" or service not in PORTS:
            return None
        if service not in ports:
            return "".join(f"#{line}" for line in edit.print_entry(words).splitlines(keepends=True))
        port = ports[service]
        return edit.print_entry((f"{host}:{port}" if host else str(port), *words[1:]))

    return edit.edit_master(shipped("master.cf"), change)


def _certificate(domain: str, host: str) -> str:
    """A key and a certificate that nobody has signed: enough against listeners, until there is a real one."""
    names = [f"mail.{domain}", domain]
    addresses = [host] if host and host not in ("0.0.0.0", "::") else []
    if host == "127.0.0.1":
        names.append("localhost")
    key, certificate = selfsigned.make(names, [address for address in addresses if _is_address(address)])
    return (key + certificate).decode("ascii")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _aliases(domain: str, embedded: bool) -> str:
    text = shipped("aliases")
    if not embedded:
        return text
    return text.replace("\npostmaster: root\n", f"\npostmaster: alice@{domain}\n").replace(
        "\n#root: alice\n", f"\nroot: alice@{domain}\n"
    )


_VMAILBOX = (
    "# Mailboxes besides those of tubepost user: address, then a path below virtual_mailbox_base; with a final / a\n"
    "# Maildir. After a change: tubepost reload.\n"
)
_VIRTUAL = (
    "# Addresses that stand for others, besides those of tubepost alias: sales@example.com alice@example.com\n"
    "# After a change: tubepost reload.\n"
)


def _make_accounts(conf: str, domain: str, credentials: dict[str, str], cost: Cost) -> None:
    """The domain, and each address of ``credentials``. Raises OSError, ConfigError, AccountsError."""
    config = load(conf)
    make_directories(config)
    now = time.time()
    with Directory(config.accounts_directory, write=True, owner=owner_of(config, "mail_owner")) as directory:
        directory.add_domain(domain, now)
        for address in credentials:
            if directory.user(address) is None:
                directory.add_user(address, now)
        if credentials:
            # RFC 2142 wants these to be read by a person.
            for alias in ("postmaster", "abuse"):
                if directory.alias(f"{alias}@{domain}") is None:
                    directory.add_alias(f"{alias}@{domain}", [next(iter(credentials))], now)
    with Passwords(config.auth_directory, owner=owner_of(config, "auth_owner")) as passwords:
        for address, password in credentials.items():
            passwords.set_password(address, store(password, cost), now)


def _credentials(domain: str) -> str:
    return "".join(f"{account}@{domain} {secrets.token_urlsafe(12)}\n" for account in _ACCOUNTS)


def _write_new(path: Path, text: str, mode: int) -> bool:
    """Whether the file was made; an existing one is not touched."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        return False
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, mode)
            file.write(text)
    except BaseException:
        # Half of it would be kept by the next try.
        os.unlink(path)
        raise
    return True


def _make_directory(path: Path, mode: int, uid: int, gid: int, *, owned: bool) -> None:
    if path.is_dir():
        # An empty one of root's is a new volume, mounted before there was anything: it is made ours. Any other stays.
        if path.stat().st_uid != os.geteuid() or any(path.iterdir()):
            return
    else:
        path.mkdir(mode=mode)
    path.chmod(mode)
    # As root the programs run as another account, which must be able to write here.
    if owned and os.geteuid() == 0:
        os.chown(path, uid, gid)


class Accounts(NamedTuple):
    """(name, uid, gid) of those that an instance runs as."""

    queue: tuple[str, int, int]
    protocol: tuple[str, int, int]
    mailboxes: tuple[str, int, int]
    auth: tuple[str, int, int]


APART = ("tubepost-net", "tubepost-mail", "tubepost-auth")
"""Who owns nothing, the mailboxes, the passwords: for ``tubepost init`` as root, where they exist beside tubepost."""


def accounts_of_system() -> Accounts:
    """Without root our own. As root tubepost, and those of APART that there are; or nobody for all."""
    if os.geteuid() != 0:
        return Accounts(*[_ourselves()] * 4)
    queue = _account("tubepost")
    if queue is not None:
        return Accounts(queue, *(_account(name) or queue for name in APART))
    return Accounts(*[_account("nobody") or ("root", 0, 0)] * 4)


def _ourselves() -> tuple[str, int, int]:
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name, uid, os.getegid()
    except KeyError:
        return str(uid), uid, os.getegid()


def _account(name: str) -> tuple[str, int, int] | None:
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    return name, found.pw_uid, found.pw_gid


def _has_group(gid: int) -> bool:
    try:
        grp.getgrgid(gid)
    except KeyError:
        return False
    return True
