"""Client certificates of whomever: asked for, taken, and said to be verified or not.

Python's ssl ends the handshake when a certificate leads to no authority that is known. For servers that is too much: a
client is to be known by the fingerprint of a certificate of its own making (Postfix: relay_clientcerts), and one that
sends its certificate to everybody is not to be turned away (smtpd_tls_ask_ccert). OpenSSL knows how: a callback that
goes on whatever is wrong, and SSL_get_verify_result afterwards (SSL_CTX_set_verify(3)). Python has no word for either;
both are called here by ctypes, with the pointers that the objects of ssl hold. Where these are is known of the releases
named below; elsewhere ``accept_any`` says no, and the handshake ends as Python has it.
"""

import _ssl
import ctypes
import functools
import ssl
import sys
from typing import Any
from weakref import WeakSet

# CPython, Modules/_ssl.c: PySSLContext begins with the SSL_CTX, PySSLSocket with its socket and then the SSL.
_RELEASES = ((3, 11), (3, 12), (3, 13))
_HEAD = object.__basicsize__
_POINTER = ctypes.sizeof(ctypes.c_void_p)
# <openssl/ssl.h>, <openssl/x509_vfy.h>
_VERIFY_PEER = 1
_OK = 0

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
# Kept for good: OpenSSL calls it for as long as there are contexts.
_go_on = _Callback(lambda _right, _store: 1)
_lenient: "WeakSet[ssl.SSLContext]" = WeakSet()


def accept_any(context: ssl.SSLContext) -> bool:
    """A server's context with CERT_OPTIONAL from now on takes any certificate; see ``is_verified``. False: not here."""
    library = _library()
    if library is None:
        return False
    library.SSL_CTX_set_verify(_context_pointer(context), _VERIFY_PEER, _go_on)
    _lenient.add(context)
    return True


def is_verified(connection: ssl.SSLObject) -> bool:
    """The peer's certificate, which is there, leads to an authority that is trusted."""
    if connection.context not in _lenient:
        # The handshake would have ended.
        return connection.context.verify_mode != ssl.CERT_NONE
    library = _library()
    assert library is not None
    return bool(library.SSL_get_verify_result(_connection_pointer(connection)) == _OK)


def _context_pointer(context: ssl.SSLContext) -> int:
    return ctypes.c_void_p.from_address(id(context) + _HEAD).value or 0


def _connection_pointer(connection: ssl.SSLObject) -> int:
    inner: Any = connection._sslobj  # type: ignore[attr-defined]
    return ctypes.c_void_p.from_address(id(inner) + _HEAD + _POINTER).value or 0


@functools.cache
def _library() -> Any:
    """The libssl that Python itself uses; None where this cannot be done."""
    if sys.implementation.name != "cpython" or sys.version_info[:2] not in _RELEASES:
        return None
    try:
        # What a library depends on is found through it; where ssl is built in, through the program.
        library = ctypes.CDLL(getattr(_ssl, "__file__", None))
        library.SSL_CTX_set_verify.argtypes = [ctypes.c_void_p, ctypes.c_int, _Callback]
        library.SSL_CTX_set_verify.restype = None
        library.SSL_CTX_get_verify_mode.argtypes = [ctypes.c_void_p]
        library.SSL_get_SSL_CTX.argtypes = [ctypes.c_void_p]
        library.SSL_get_SSL_CTX.restype = ctypes.c_void_p
        library.SSL_get_verify_result.argtypes = [ctypes.c_void_p]
        library.SSL_get_verify_result.restype = ctypes.c_long
    except (OSError, AttributeError):
        return None
    return library if _is_as_expected(library) else None


def _is_as_expected(library: Any) -> bool:
    """Both pointers are what they are taken for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pointer = _context_pointer(context)
    connection = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    inner = _connection_pointer(connection)
    if not pointer or not inner or pointer % _POINTER or inner % _POINTER:
        return False
    for mode in (ssl.CERT_OPTIONAL, ssl.CERT_NONE):
        context.verify_mode = mode
        if library.SSL_CTX_get_verify_mode(pointer) != (_VERIFY_PEER if mode else 0):
            return False
    return bool(library.SSL_get_SSL_CTX(inner) == pointer)


__all__ = ["accept_any", "is_verified"]
