"""``passwd-file:FILE``: Dovecot's passwd-file, or an old /etc/passwd: ``user:password:uid:gid:gecos:home:shell:extra``.

Extra fields that count: userdb_mail or mail (``maildir:PATH``), userdb_home, userdb_uid, userdb_gid,
userdb_quota_rule or quota_rule (``*:storage=1G:messages=1000``), allow_nets, nologin. ``%u %n %d`` and, in a mail
location, ``~`` stand for what they stand for there. The file is read again when it has changed.
"""

import ipaddress
import os
import re
from dataclasses import dataclass

from tubepost.common.system import log
from tubepost.common.accounts.names import fold_name
from tubepost.common.config import Config

from tubepost.services.auth import schemes
from tubepost.services.auth.backends.base import UNKNOWN, WRONG, Account, Backend, Context, Result, Unavailable, Verdict
from tubepost.services.auth.chain import check_hash
from tubepost.services.auth.hashing import Hasher
from tubepost.services.auth.users import expand

_SIZE_LIMIT = 256 * 1024 * 1024
_EXTRA = re.compile(r'(?:[^\s"]|"(?:[^"\\]|\\.)*")+')
_STORAGE = re.compile(r"(\d+)([bkmgt%]?)(?:i?b)?", re.IGNORECASE)
_UNITS = {"": 1 << 10, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_CRYPT_LIKE = ("$", "{", "*", "!")


@dataclass(frozen=True, slots=True)
class Entry:
    account: Account
    password: str
    networks: tuple[str, ...] = ()


def parse_line(line: str) -> Entry | None:
    """None for an empty line, a comment, or a line without a name. Raises ValueError with what is wrong."""
    if not line.strip() or line.startswith("#"):
        return None
    name, *fields = line.rstrip("\r\n").split(":", 7)
    # The password may hold colons only within braces, which no scheme here has; an IPv6 extra field stands last.
    password, uid, gid, _gecos, home, _shell, rest = [*fields, "", "", "", "", "", "", ""][:7]
    name = fold_name(name)
    if not name:
        raise ValueError("there is no user name")
    extra = dict(word.partition("=")[::2] for word in _EXTRA.findall(rest))
    own = {key.removeprefix("userdb_"): value.strip('"') for key, value in extra.items()}
    home = expand(own.get("home") or home, name)
    bytes_, messages = _quota(own.get("quota_rule", ""))
    account = Account(
        name,
        home,
        _mailbox(expand(own.get("mail", ""), name), home),
        _id(own.get("uid") or uid),
        _id(own.get("gid") or gid),
        bytes_,
        messages,
        enabled="nologin" not in extra,
    )
    if "nopassword" in extra:
        raise ValueError("nopassword lets everybody in: it is not supported")
    if password and not password.startswith(_CRYPT_LIKE):
        # Dovecot's default scheme of a passwd-file.
        password = f"{{CRYPT}}{password}"
    # Said and empty: from nowhere.
    networks = tuple(extra["allow_nets"].split(",")) if "allow_nets" in extra else ()
    return Entry(account, password, networks)


def _id(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else -1


def _mailbox(location: str, home: str) -> str:
    kind, colon, path = location.partition(":")
    if not colon:
        kind, path = "maildir", location
    if not path:
        return ""
    if kind != "maildir":
        raise ValueError(f'mailboxes of the kind "{kind}" are not known here')
    path = path.split(":")[0]
    if path == "~" or path.startswith("~/"):
        path = home + path[1:]
    return path.rstrip("/") + "/"


def _quota(rule: str) -> tuple[int, int]:
    bytes_ = messages = 0
    for part in rule.split(":")[1:]:
        name, _, value = part.partition("=")
        if name in ("storage", "bytes") and (match := _STORAGE.fullmatch(value)):
            unit = "b" if name == "bytes" and not match[2] else match[2].lower()
            bytes_ = int(match[1]) * _UNITS.get(unit, 1)
        elif name == "messages" and value.isascii() and value.isdigit():
            messages = int(value)
    return bytes_, messages


class PasswdFile(Backend):
    has_scram = True
    has_clear = True

    def __init__(self, path: str, hasher: Hasher) -> None:
        self.name = f"passwd-file:{path}"
        self._path = path
        self._hasher = hasher
        self._entries: dict[str, Entry] = {}
        self._seen: tuple[int, int, int] = (0, 0, 0)

    def _read(self) -> dict[str, Entry]:
        """Raises Unavailable."""
        try:
            found = os.stat(self._path)
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen == self._seen:
                return self._entries
            if found.st_size > _SIZE_LIMIT:
                raise Unavailable(f"{self.name}: the file is larger than {_SIZE_LIMIT} bytes")
            with open(self._path, encoding="utf-8", errors="surrogateescape") as file:
                entries = self._parse(file.read())
        except OSError as error:
            raise Unavailable(f"{self.name}: {error.strerror}") from error
        self._entries, self._seen = entries, seen
        return entries

    def _parse(self, text: str) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        for number, line in enumerate(text.split("\n"), 1):
            try:
                entry = parse_line(line)
            except ValueError as error:
                log.warning(f"{self._path}, line {number}: {error}; the line is left out")
                continue
            if entry is not None:
                entries.setdefault(entry.account.name, entry)
        return entries

    async def verify(self, name: str, password: str, context: Context) -> Result:
        entry = self._read().get(name)
        if entry is None:
            return UNKNOWN
        if not entry.password:
            await self._hasher.check(None, password)
            return WRONG
        verdict = await check_hash(self._hasher, entry.password, password, name)
        if verdict is Verdict.RIGHT and not _allowed(entry.networks, context.client):
            return Result(Verdict.WRONG, note=f"not from {context.client}: allow_nets")
        if verdict is Verdict.RIGHT and not entry.account.enabled:
            return Result(Verdict.DISABLED)
        return Result(verdict, entry.account)

    async def keys(self, name: str, scheme: str) -> str | None:
        entry = self._read().get(name)
        if entry is None or entry.networks or not entry.account.enabled:
            return None
        if scheme == "PLAIN":
            return schemes.clear_text(entry.password)
        return schemes.scram_text(entry.password, scheme)

    async def user(self, name: str) -> Account | None:
        entry = self._read().get(name)
        return entry.account if entry is not None else None


def _allowed(networks: tuple[str, ...], client: str) -> bool:
    if not networks:
        return True
    if not client:
        return "local" in networks
    try:
        address = ipaddress.ip_address(client)
        return any(
            address in ipaddress.ip_network(item, strict=False) for item in networks if item not in ("", "local")
        )
    except ValueError:
        return False


def make(argument: str, config: Config, hasher: Hasher) -> Backend:
    """Raises ValueError."""
    if not argument.startswith("/"):
        raise ValueError("name the file by its whole path")
    return PasswdFile(argument, hasher)
