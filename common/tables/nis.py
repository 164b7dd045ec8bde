"""``nis:map``: a map of the Network Information Service, asked through the C library's ``libnsl``.

Needs the libnsl library (Debian: libnsl2), a NIS domain name on this host and a ypbind that knows a server; without the
first two the table cannot be opened. The library has no asynchronous form and one state a process, so that questions
go through one thread, one after the other. Programs without network ask through ``proxy:``.
"""

import asyncio
import ctypes
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tubepost.common.tables.codec import decode_value, encode_key
from tubepost.common.tables.table import Table, TableEnvironment, TableError

# By name: to search for it Python would run a program, which a confined one may not.
_LIBRARIES = ("libnsl.so.2", "libnsl.so.3", "libnsl.so.1")
# <rpcsvc/ypclnt.h>
_YPERR_SUCCESS = 0
_YPERR_KEY = 5
# The library tries several times, with pauses, when a server is gone; seconds.
_DEADLINE = 30.0
# One for all tables of a process; its thread begins with the first question.
_thread = ThreadPoolExecutor(1, "nis")

_c = ctypes.CDLL(None)
_c.free.argtypes = [ctypes.c_void_p]
_c.free.restype = None


def _load(spec: str) -> Any:
    """libnsl. Raises TableError."""
    for name in _LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        try:
            library.yp_match.argtypes = [
                ctypes.c_char_p,
                ctypes.c_char_p,
                ctypes.c_char_p,
                ctypes.c_int,
                ctypes.POINTER(ctypes.c_void_p),
                ctypes.POINTER(ctypes.c_int),
            ]
            library.yperr_string.restype = ctypes.c_char_p
        except AttributeError as error:
            raise TableError(f"{spec}: the library {name} is not usable: {error}") from error
        return library
    raise TableError(f"{spec}: the library libnsl is not installed")


class NisTable(Table):
    __slots__ = ("_domain", "_library", "_map", "_utf8", "_with_zero")
    immediate = False

    def __init__(self, kind: str, name: str, fold: bool, utf8: bool = True) -> None:
        super().__init__(kind, name, fold)
        self._utf8 = utf8
        self._library = _load(self.spec)
        domain = ctypes.c_char_p()
        failed = self._library.yp_get_default_domain(ctypes.byref(domain))
        if failed or not domain.value or domain.value == b"(none)":
            raise TableError(f"{self.spec}: this host has no NIS domain name")
        self._domain = domain.value
        self._map = name.encode("utf-8", "surrogateescape")
        self._with_zero: bool | None = None

    async def _ask(self, key: str) -> str | None:
        encoded = encode_key(key, self._utf8)
        # The library takes an empty key, and one with a zero byte, for something else.
        if not encoded or b"\0" in encoded:
            return None
        try:
            async with asyncio.timeout(_DEADLINE):
                value = await asyncio.get_running_loop().run_in_executor(_thread, self._match, encoded)
        except TimeoutError:
            raise TableError(f"{self.spec}: the NIS domain does not answer within {_DEADLINE:g} s") from None
        return None if value is None else decode_value(self.spec, key, value, self._utf8)

    def _match(self, key: bytes) -> bytes | None:
        # Maps are made with or without a zero byte behind keys and values: both are tried until one is seen.
        for zero in (True, False) if self._with_zero is None else (self._with_zero,):
            sought = key + b"\0" if zero else key
            value = ctypes.c_void_p()
            size = ctypes.c_int()
            status = self._library.yp_match(
                self._domain, self._map, sought, len(sought), ctypes.byref(value), ctypes.byref(size)
            )
            if status == _YPERR_SUCCESS and value.value:
                found = ctypes.string_at(value.value, size.value)
                # yp_match(3): the memory is the caller's.
                _c.free(value)
                self._with_zero = zero
                return found.rstrip(b"\0\n")
            if status not in (_YPERR_SUCCESS, _YPERR_KEY):
                reason = (self._library.yperr_string(status) or b"").decode("utf-8", "replace")
                raise TableError(f"{self.spec}: the NIS domain does not answer: {reason or f'error {status}'}")
        return None


def open_table(kind: str, name: str, environment: TableEnvironment, fold: bool) -> Table:
    """See registry.Opener."""
    return NisTable(kind, name, fold, environment.utf8)
