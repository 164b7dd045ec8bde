"""``nis:map``: a map of the Network Information Service, asked through the C library's ``libnsl``.

Needs the libnsl library (Debian: libnsl2) and a NIS domain name on this host; without them the table cannot be opened.
The library has no asynchronous form and one state a process, so questions go through a thread, one after the other.
"""

import asyncio
import ctypes
import ctypes.util
import threading

from tubepost.common.tables.codec import decode_value, encode_key
from tubepost.common.tables.table import Table, TableEnvironment, TableError

# <rpcsvc/ypclnt.h>
_YPERR_SUCCESS = 0
_YPERR_KEY = 5
_lock = threading.Lock()


class NisTable(Table):
    __slots__ = ("_domain", "_library", "_with_zero")
    immediate = False

    def __init__(self, kind: str, name: str, fold: bool) -> None:
        super().__init__(kind, name, fold)
        path = ctypes.util.find_library("nsl")
        if path is None:
            raise TableError(f"{self.spec}: the library libnsl is not installed")
        try:
            self._library = ctypes.CDLL(path)
            domain = ctypes.c_char_p()
            failed = self._library.yp_get_default_domain(ctypes.byref(domain))
        except (OSError, AttributeError) as error:
            raise TableError(f"{self.spec}: the library {path} is not usable: {error}") from error
        if failed or not domain.value or domain.value == b"(none)":
            raise TableError(f"{self.spec}: this host has no NIS domain name")
        self._domain = domain.value
        self._with_zero: bool | None = None

    async def _ask(self, key: str) -> str | None:
        encoded = encode_key(key)
        if encoded is None:
            return None
        value = await asyncio.to_thread(self._match, encoded)
        return None if value is None else decode_value(self.spec, key, value)

    def _match(self, key: bytes) -> bytes | None:
        with _lock:
            # Maps are made with or without a zero byte behind keys and values: both are tried until one is seen.
            for zero in (True, False) if self._with_zero is None else (self._with_zero,):
                sought = key + b"\0" if zero else key
                value = ctypes.POINTER(ctypes.c_char)()
                size = ctypes.c_int()
                status = self._library.yp_match(
                    self._domain, self.name.encode(), sought, len(sought), ctypes.byref(value), ctypes.byref(size)
                )
                if status == _YPERR_SUCCESS:
                    self._with_zero = zero
                    # The library's next call frees nothing of this one; the copy is ours, the buffer small.
                    return ctypes.string_at(value, size.value).rstrip(b"\0\n")
                if status != _YPERR_KEY:
                    raise TableError(f"{self.spec}: the NIS domain does not answer (error {status})")
        return None


def open_table(kind: str, name: str, environment: TableEnvironment, fold: bool) -> Table:
    """See registry.Opener."""
    return NisTable(kind, name, fold)
