"""``pam`` or ``pam:SERVICE``: users of this system, whose passwords PAM knows (/etc/pam.d/SERVICE; default: tubepost's
name for what is asked: smtp, imap, pop3).

libpam is called by ctypes in threads. Its modules want to be root: say ``n`` in the unpriv column of auth in master.cf.
They then may do what they do elsewhere (write files, connect, run programs), but for one thing: after a wrong password
it is auth that waits, not they.

A module that hangs cannot be ended, it holds its thread. The client is told to come again after auth_pam_timeout; when
half of the threads hang no more checks are begun, and a new process of auth takes over, with whose end they end.
"""

import asyncio
import ctypes
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tubepost.common.system import log
from tubepost.common.config import Config

from tubepost.services.auth.backends.base import UNKNOWN, WRONG, Account, Backend, Context, Result, Unavailable, Verdict
from tubepost.services.auth.backends.system import SystemUsers
from tubepost.services.auth.hashing import Hasher

# security/_pam_types.h
_SUCCESS, _BUFFER_ERROR, _CONVERSATION_ERROR = 0, 5, 19
_PERMISSION, _AUTHENTICATION, _UNAVAILABLE, _USER_UNKNOWN, _TRIES, _EXPIRED, _ACCOUNT_EXPIRED = 6, 7, 9, 10, 11, 12, 13
_PROMPT_ECHO_OFF, _PROMPT_ECHO_ON = 1, 2
_RHOST, _FAIL_DELAY = 4, 10
_SILENT = 0x8000
_MESSAGES_LIMIT = 32
_THREADS = 16
# Of these so many may hang.
_HANGING_LIMIT = 8


class _Message(ctypes.Structure):
    _fields_ = (("style", ctypes.c_int), ("text", ctypes.c_char_p))


class _Response(ctypes.Structure):
    _fields_ = (("text", ctypes.c_void_p), ("code", ctypes.c_int))


_Converse = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    ctypes.POINTER(ctypes.POINTER(_Message)),
    ctypes.POINTER(ctypes.POINTER(_Response)),
    ctypes.c_void_p,
)


# pam_fail_delay(3)
_Delay = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)
_no_delay = _Delay(lambda _code, _microseconds, _data: None)


class _Conversation(ctypes.Structure):
    _fields_ = (("converse", _Converse), ("data", ctypes.c_void_p))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class Library:
    """libpam. Raises OSError where there is none."""

    def __init__(self) -> None:
        self._pam = ctypes.CDLL("libpam.so.0")
        self._c = ctypes.CDLL(None)
        self._c.calloc.restype = ctypes.c_void_p
        self._c.calloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
        self._c.strdup.restype = ctypes.c_void_p
        self._c.strdup.argtypes = [ctypes.c_char_p]
        self._pam.pam_start.argtypes = [
            ctypes.c_char_p,
            ctypes.c_char_p,
            ctypes.POINTER(_Conversation),
            ctypes.POINTER(ctypes.c_void_p),
        ]
        for name in ("pam_authenticate", "pam_acct_mgmt", "pam_end"):
            getattr(self._pam, name).argtypes = [ctypes.c_void_p, ctypes.c_int]
        self._pam.pam_set_item.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]

    def check(self, service: str, login: str, password: str, client: str) -> int:
        """PAM's code of the first step that fails, or 0. Blocks for as long as the modules like."""

        def converse(count: int, messages: Any, responses: Any, _data: Any) -> int:
            if not 0 < count <= _MESSAGES_LIMIT:
                return _CONVERSATION_ERROR
            # libpam frees it, and the texts in it.
            memory = self._c.calloc(count, ctypes.sizeof(_Response))
            if not memory:
                return _BUFFER_ERROR
            answers = ctypes.cast(memory, ctypes.POINTER(_Response))
            for place in range(count):
                style = messages[place].contents.style
                if style == _PROMPT_ECHO_OFF:
                    answers[place].text = self._c.strdup(_bytes(password))
                elif style == _PROMPT_ECHO_ON:
                    answers[place].text = self._c.strdup(_bytes(login))
            responses[0] = answers
            return _SUCCESS

        conversation = _Conversation(_Converse(converse), None)
        handle = ctypes.c_void_p()
        code: int = self._pam.pam_start(
            service.encode(), _bytes(login), ctypes.byref(conversation), ctypes.byref(handle)
        )
        if code != _SUCCESS:
            return code
        try:
            self._pam.pam_set_item(handle, _FAIL_DELAY, ctypes.cast(_no_delay, ctypes.c_void_p))
            if client:
                self._pam.pam_set_item(handle, _RHOST, client.encode())
            code = self._pam.pam_authenticate(handle, _SILENT)
            if code == _SUCCESS:
                code = self._pam.pam_acct_mgmt(handle, _SILENT)
        finally:
            self._pam.pam_end(handle, code)
        return code


class Pam(SystemUsers):
    has_passwords = True

    def __init__(self, service: str, config: Config, library: Library) -> None:
        super().__init__(config)
        self.name = f"pam:{service}" if service else "pam"
        self._service = service
        self._library = library
        # A module may wait for another host: those of others are not to wait behind it.
        self._threads = ThreadPoolExecutor(_THREADS, "pam")
        self._timeout = config.auth_pam_timeout
        # By thread: since when, monotonic.
        self._begun: dict[int, float] = {}

    async def open(self) -> None:
        if os.geteuid() != 0:
            log.warning(
                f"{self.name}: auth does not run as root, so pam_unix calls every password wrong; "
                "say n in the unpriv column of auth in master.cf"
            )

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def verify(self, name: str, password: str, context: Context) -> Result:
        account = await self.user(name)
        if account is None:
            return UNKNOWN
        if "\0" in password:
            return WRONG
        if self.worn or self._hanging() >= _HANGING_LIMIT:
            self.worn = True
            raise Unavailable(f"{self.name}: {_HANGING_LIMIT} checks hang in modules of PAM, no more are begun")
        words = (self._service or context.scope, account.name, password, context.client)
        work = asyncio.get_running_loop().run_in_executor(self._threads, self._check, *words)
        try:
            async with asyncio.timeout(self._timeout):
                code = await work
        except TimeoutError:
            self.worn = self._hanging() >= _HANGING_LIMIT
            raise Unavailable(f"{self.name} does not answer within {self._timeout:g} s") from None
        return judge(code, account, self.name)

    def _check(self, service: str, login: str, password: str, client: str) -> int:
        thread = threading.get_ident()
        self._begun[thread] = time.monotonic()
        try:
            return self._library.check(service, login, password, client)
        finally:
            del self._begun[thread]

    def _hanging(self) -> int:
        """Threads that are out longer than anybody waits for them."""
        limit = time.monotonic() - self._timeout
        # A copy: threads come and go.
        return sum(1 for begun in list(self._begun.values()) if begun <= limit)


def judge(code: int, account: Account, title: str) -> Result:
    """Raises Unavailable."""
    if code == _SUCCESS:
        return Result(Verdict.RIGHT, account, whole=True)
    if code in (_AUTHENTICATION, _TRIES, _PERMISSION):
        return WRONG
    if code == _USER_UNKNOWN:
        return UNKNOWN
    if code in (_EXPIRED, _ACCOUNT_EXPIRED):
        return Result(Verdict.EXPIRED)
    raise Unavailable(f"{title} cannot tell (PAM error {code}); does auth run as root (unpriv n in master.cf)?")


def make(argument: str, config: Config, hasher: Hasher) -> Backend:
    """Raises ValueError."""
    if "/" in argument:
        raise ValueError("name the PAM service, not its file")
    try:
        return Pam(argument, config, Library())
    except OSError as error:
        raise ValueError(f"libpam cannot be loaded: {error}") from None
