"""A network of the test's own, in which clients have addresses that are not loopback's; root only.

in_own_network(work)        # all sockets and processes that work() makes are in it; 192.0.2.0/24 is this host
"""

import ctypes
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable

import pytest

_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK = 0x8914, 0x8916, 0x891C
_UP_AND_RUNNING = 0x1 | 0x40


def _set_address(control: socket.socket, request: int, address: str) -> None:
    """Of a second name of lo: the whole network is then this host's."""
    record = struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton(address))
    fcntl.ioctl(control, request, record)


def in_own_network(work: Callable[[], None]) -> None:
    """In a thread, since a thread can leave the network of its process alone. Raises what ``work`` does."""
    if os.geteuid() != 0:
        pytest.skip("only root can have a network of its own")
    raised: list[BaseException] = []

    def inside() -> None:
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
                pytest.skip(f"no network of its own: {os.strerror(ctypes.get_errno())}")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
                fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _UP_AND_RUNNING))
                _set_address(control, _SIOCSIFADDR, "192.0.2.1")
                _set_address(control, _SIOCSIFNETMASK, "255.255.255.0")
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
