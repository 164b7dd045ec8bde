"""``ldap:FILE``: users of a directory, by a search, and a bind as the user or a password attribute.

FILE has ``name = value`` lines, as Dovecot's and Postfix's: server_host (URIs, in order), search_base, query_filter
(``(mail=%u)``; %u %n %d), scope (sub, one, base), bind_dn, bind_pw, start_tls, tls_ca_cert_file, tls_require_cert,
timeout; auth_bind (yes: bind as the user; no: compare pass_attribute, which may have {SCHEME}), pass_attribute; and the
names of attributes that tell of the user: mailbox_attribute, home_attribute, uid_attribute, gid_attribute,
quota_attribute (bytes).
"""

import asyncio
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import ldap3
from ldap3.core.exceptions import LDAPException
from ldap3.utils.conv import escape_filter_chars

from tubepost.common.config import Config
from tubepost.common.tables import TableError, template

from tubepost.services.auth import schemes
from tubepost.services.auth.backends.base import UNKNOWN, WRONG, Account, Backend, Context, Result, Unavailable, Verdict
from tubepost.services.auth.chain import check_hash
from tubepost.services.auth.hashing import Hasher
from tubepost.services.auth.users import expand

_THREADS = 8
_SCOPES = {"sub": ldap3.SUBTREE, "one": ldap3.LEVEL, "base": ldap3.BASE}
_YES = ("yes", "true", "1", "on")


@dataclass(frozen=True, slots=True)
class Entry:
    dn: str
    account: Account
    password: str


class Ldap(Backend):
    def __init__(self, path: str, hasher: Hasher) -> None:
        """Raises ValueError for a setting that is missing or wrong."""
        self.name = f"ldap:{path}"
        self._hasher = hasher
        try:
            told = template.read_settings(self.name, path)
        except TableError as error:
            raise ValueError(str(error)) from None
        self._told = told
        self._base = told.get("search_base", "")
        self._filter = told.get("query_filter", "(&(objectClass=posixAccount)(uid=%u))")
        if told.get("scope", "sub") not in _SCOPES:
            raise ValueError(f"scope is sub, one or base, not {told['scope']}")
        self._scope = _SCOPES[told.get("scope", "sub")]
        self._bind = told.get("auth_bind", "yes") in _YES
        self._start_tls = told.get("start_tls", "no") in _YES
        self._timeout = max(1, int(told.get("timeout", "10")))
        self.has_scram = self.has_clear = not self._bind
        checked = ssl.CERT_REQUIRED if told.get("tls_require_cert", "yes") in _YES else ssl.CERT_NONE
        tls = ldap3.Tls(validate=checked, ca_certs_file=told.get("tls_ca_cert_file") or None)
        hosts = told.get("server_host", "ldap://localhost").replace(",", " ").split()
        servers = [ldap3.Server(host, tls=tls, connect_timeout=self._timeout, get_info=ldap3.NONE) for host in hosts]
        self._servers = ldap3.ServerPool(servers, ldap3.FIRST, active=1, exhaust=False)
        names = {key: told.get(f"{key}_attribute", "") for key in ("mailbox", "home", "uid", "gid", "quota")}
        self._names = {key: value for key, value in names.items() if value}
        self._secret = "" if self._bind else told.get("pass_attribute", "userPassword")
        self._threads = ThreadPoolExecutor(_THREADS, "ldap")
        self._kept = threading.local()

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    # -- in threads --------------------------------------------------------------------------------------------------

    def _connect(self, dn: str, password: str) -> Any:
        """Bound, or None where the directory says that the password is wrong. Raises LDAPException."""
        connection = ldap3.Connection(
            self._servers,
            user=dn or None,
            password=password or None,
            authentication=ldap3.SIMPLE if dn else ldap3.ANONYMOUS,
            receive_timeout=self._timeout,
            raise_exceptions=False,
            # A referral would take bind_dn's password, or a user's, to wherever the directory says.
            auto_referrals=False,
        )
        connection.open()
        if self._start_tls:
            connection.start_tls()
        if not connection.bind():
            code = connection.result["result"]
            connection.unbind()
            # RFC 4511 A.1: 49 invalidCredentials, 48 inappropriateAuthentication, 53 unwillingToPerform.
            if code in (48, 49, 53):
                return None
            raise LDAPException(f"the bind failed: {connection.result.get('description')}")
        return connection

    def _search(self, name: str) -> Entry | None:
        if not _is_plain(name):
            return None
        # RFC 4515 3: what comes from a client is text in a filter, never a part of it.
        question = expand_filter(self._filter, name)
        for last in (False, True):
            connection = getattr(self._kept, "connection", None)
            try:
                if connection is None:
                    connection = self._connect(self._told.get("bind_dn", ""), self._told.get("bind_pw", ""))
                    if connection is None:
                        raise LDAPException("bind_dn and bind_pw are refused")
                    self._kept.connection = connection
                wanted = [*self._names.values(), *([self._secret] if self._secret else [])]
                connection.search(self._base, question, self._scope, attributes=wanted or ["1.1"], size_limit=2)
                code = connection.result["result"]
                # 0 success, 4 sizeLimitExceeded, 32 noSuchObject
                if code not in (0, 4, 32):
                    raise LDAPException(f"the search failed: {connection.result.get('description')}")
                break
            except (LDAPException, OSError):
                # The directory may have closed a connection that was idle.
                self._kept.connection = None
                if last or connection is None:
                    raise
        response: Any = connection.response if connection is not None else None
        found = [item for item in response or () if item.get("type") == "searchResEntry"]
        if len(found) > 1:
            raise LDAPException(f"the search for {name} finds more than one entry")
        return self._entry(name, found[0]) if found else None

    def _entry(self, name: str, item: Any) -> Entry:
        raw = item["raw_attributes"]

        def value(attribute: str) -> str:
            values = raw.get(attribute) or [b""]
            return bytes(values[0]).decode("utf-8", "surrogateescape")

        told = {key: value(attribute) for key, attribute in self._names.items()}
        account = Account(
            name,
            told.get("home", ""),
            told.get("mailbox", ""),
            _number(told.get("uid", ""), -1),
            _number(told.get("gid", ""), -1),
            _number(told.get("quota", ""), 0),
        )
        return Entry(item["dn"], account, value(self._secret) if self._secret else "")

    def _try(self, dn: str, password: str) -> bool:
        connection = self._connect(dn, password)
        if connection is None:
            return False
        connection.unbind()
        return True

    async def _run(self, work: Any, *arguments: str) -> Any:
        """Raises Unavailable."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        except (LDAPException, OSError) as error:
            raise Unavailable(f"{self.name}: {error}") from error

    # -- questions ---------------------------------------------------------------------------------------------------

    async def verify(self, name: str, password: str, context: Context) -> Result:
        entry: Entry | None = await self._run(self._search, name)
        if entry is None:
            return UNKNOWN
        if self._bind:
            # RFC 4513 5.1.2: a bind without a password succeeds and proves nothing.
            right = bool(password) and await self._run(self._try, entry.dn, password)
            return Result(Verdict.RIGHT, entry.account, whole=True) if right else WRONG
        if not entry.password:
            await self._hasher.check(None, password)
            return WRONG
        verdict = await check_hash(self._hasher, with_scheme(entry.password), password, name)
        return Result(verdict, entry.account, whole=True)

    async def keys(self, name: str, scheme: str) -> str | None:
        entry: Entry | None = await self._run(self._search, name)
        if entry is None or not entry.password:
            return None
        stored = with_scheme(entry.password)
        return schemes.clear_text(stored) if scheme == "PLAIN" else schemes.scram_text(stored, scheme)

    async def user(self, name: str) -> Account | None:
        entry: Entry | None = await self._run(self._search, name)
        return entry.account if entry is not None else None


def expand_filter(text: str, name: str) -> str:
    """``%u %n %d`` in a filter, escaped (RFC 4515 3)."""
    parts = [escape_filter_chars(part) for part in name.rpartition("@")[::2]]
    safe = f"{parts[0]}@{parts[1]}" if "@" in name else escape_filter_chars(name)
    return expand(text, safe)


def _is_plain(name: str) -> bool:
    """A directory looks past blanks at the ends, and how many there are within (RFC 4518 2.6.1): what has such is
    another account here and the same one there, so it is none.
    """
    return all(" ".join(part.split()) == part for part in name.rpartition("@")[::2])


def with_scheme(stored: str) -> str:
    """RFC 2307 5.3: a userPassword without a scheme is in clear."""
    return stored if stored.startswith(("{", "$")) else f"{{PLAIN}}{stored}"


def _number(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdigit() else default


def make(argument: str, config: Config, hasher: Hasher) -> Backend:
    """Raises ValueError."""
    return Ldap(argument, hasher)
