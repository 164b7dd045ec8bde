"""What code inside a confined program tries. Loaded before the fork; nothing of it is in the product.

Each attempt is a function of what the test sends. It returns when it got what it wanted, and raises OSError when it was
refused; both are told to the test with the errno.
"""

import array
import ctypes
import errno
import os
import platform
import resource
import signal
import socket
import struct
from collections.abc import Callable
from typing import Any

from tubepost.common.system import log

_library = ctypes.CDLL(None, use_errno=True)
_ARM = platform.machine() == "aarch64"
Attempt = Callable[[dict[str, Any]], object]
ATTEMPTS: dict[str, Attempt] = {}


def attempt(function: Attempt) -> Attempt:
    ATTEMPTS[function.__name__] = function
    return function


def _call(x86: int, arm: int, *arguments: object) -> int:
    """A system call by number. Raises OSError."""
    number = arm if _ARM else x86
    if number < 0:
        raise OSError(errno.EPERM, "there is no such call here")
    ctypes.set_errno(0)
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    found: int = _library.syscall(ctypes.c_long(number), *words)
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found


@attempt
def nothing(_: dict[str, Any]) -> object:
    """The probe: the process lives and its loop turns."""
    return os.getpid()


@attempt
def say(given: dict[str, Any]) -> object:
    """A line of the log: all that the process has said before stands before it."""
    log.info(given["text"])
    return True


@attempt
def limit_itself(given: dict[str, Any]) -> object:
    resource.setrlimit(given["limit"], tuple(given["to"]))
    return True


# -- files -----------------------------------------------------------------------------------------------------------


@attempt
def read_file(given: dict[str, Any]) -> object:
    with open(given["path"], "rb") as file:
        return len(file.read(100))


@attempt
def list_directory(given: dict[str, Any]) -> object:
    return len(os.listdir(given["path"]))


@attempt
def make_file(given: dict[str, Any]) -> object:
    path = os.path.join(given["path"], "attack")
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    os.unlink(path)
    return path


@attempt
def change_file(given: dict[str, Any]) -> object:
    os.close(os.open(given["path"], os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))
    return True


@attempt
def truncate_file(given: dict[str, Any]) -> object:
    os.truncate(given["path"], os.stat(given["path"]).st_size)
    return True


@attempt
def remove_file(given: dict[str, Any]) -> object:
    os.unlink(given["path"])
    return True


@attempt
def rename_file(given: dict[str, Any]) -> object:
    os.rename(given["path"], given["path"] + ".moved")
    return True


@attempt
def change_mode(given: dict[str, Any]) -> object:
    os.chmod(given["path"], 0o666)
    return True


@attempt
def change_owner(given: dict[str, Any]) -> object:
    os.chown(given["path"], os.geteuid(), os.getegid())
    return True


def _by_link(make: Callable[[str, str], None], given: dict[str, Any]) -> object:
    """A link out of the directory that this program may write, followed."""
    link = os.path.join(given["own"], "attack.link")
    make(given["path"], link)
    try:
        return read_file({"path": link})
    finally:
        os.unlink(link)


@attempt
def read_by_symlink(given: dict[str, Any]) -> object:
    return _by_link(os.symlink, given)


@attempt
def read_by_hard_link(given: dict[str, Any]) -> object:
    return _by_link(os.link, given)


@attempt
def move_out(given: dict[str, Any]) -> object:
    """A file of one's own, into a directory of others."""
    own = os.path.join(given["own"], "attack.file")
    os.close(os.open(own, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    try:
        os.rename(own, os.path.join(given["path"], "attack.file"))
    finally:
        if os.path.exists(own):
            os.unlink(own)
    return True


@attempt
def make_device(given: dict[str, Any]) -> object:
    path = os.path.join(given["own"], "attack.device")
    os.mknod(path, 0o600 | 0o060000, os.makedev(1, 1))
    os.unlink(path)
    return True


@attempt
def open_by_handle(_: dict[str, Any]) -> object:
    return _call(304, 265, -100, ctypes.create_string_buffer(64), os.O_RDONLY)


@attempt
def name_to_handle(_: dict[str, Any]) -> object:
    handle = ctypes.create_string_buffer(struct.pack("=Ii", 120, 0), 128)
    mount = ctypes.c_int()
    return _call(303, 264, -100, b"/etc/passwd", handle, ctypes.byref(mount), 0)


@attempt
def open_device(_: dict[str, Any]) -> object:
    with open("/dev/zero", "rb") as file:
        return len(file.read(4096))


# -- the network -----------------------------------------------------------------------------------------------------


def _with(family: int, kind: int, work: Callable[[socket.socket], object], protocol: int = 0) -> object:
    with socket.socket(family, kind, protocol) as made:
        made.settimeout(2)
        return work(made)


@attempt
def connect_tcp4(given: dict[str, Any]) -> object:
    return _with(socket.AF_INET, socket.SOCK_STREAM, lambda s: s.connect(("127.0.0.1", given["port4"])))


@attempt
def connect_tcp6(given: dict[str, Any]) -> object:
    return _with(socket.AF_INET6, socket.SOCK_STREAM, lambda s: s.connect(("::1", given["port6"])))


@attempt
def send_udp4(given: dict[str, Any]) -> object:
    return _with(socket.AF_INET, socket.SOCK_DGRAM, lambda s: s.sendto(b"x", ("127.0.0.1", given["port4"])))


@attempt
def send_udp6(given: dict[str, Any]) -> object:
    return _with(socket.AF_INET6, socket.SOCK_DGRAM, lambda s: s.sendto(b"x", ("::1", given["port6"])))


@attempt
def connect_fast_open(given: dict[str, Any]) -> object:
    """TCP whose first packet has data: no connect(2) is called."""
    return _with(
        socket.AF_INET, socket.SOCK_STREAM, lambda s: s.sendto(b"x", 0x20000000, ("127.0.0.1", given["port4"]))
    )


@attempt
def listen_tcp(_: dict[str, Any]) -> object:
    def work(made: socket.socket) -> None:
        made.bind(("127.0.0.1", 0))
        made.listen()

    return _with(socket.AF_INET, socket.SOCK_STREAM, work)


@attempt
def connect_mptcp(given: dict[str, Any]) -> object:
    return _with(socket.AF_INET, socket.SOCK_STREAM, lambda s: s.connect(("127.0.0.1", given["port4"])), 262)


@attempt
def open_raw(_: dict[str, Any]) -> object:
    return _with(socket.AF_INET, socket.SOCK_RAW, lambda s: s.fileno(), socket.IPPROTO_ICMP)


@attempt
def open_packet(_: dict[str, Any]) -> object:
    return _with(socket.AF_PACKET, socket.SOCK_RAW, lambda s: s.fileno())


@attempt
def open_vsock(_: dict[str, Any]) -> object:
    return _with(40, socket.SOCK_STREAM, lambda s: s.fileno())


@attempt
def open_alg(_: dict[str, Any]) -> object:
    return _with(38, socket.SOCK_SEQPACKET, lambda s: s.fileno())


@attempt
def connect_abstract(given: dict[str, Any]) -> object:
    return _with(socket.AF_UNIX, socket.SOCK_STREAM, lambda s: s.connect("\0" + given["abstract"]))


@attempt
def connect_unix(given: dict[str, Any]) -> object:
    return _with(socket.AF_UNIX, socket.SOCK_STREAM, lambda s: s.connect(given["path"]))


# -- programs --------------------------------------------------------------------------------------------------------


@attempt
def execute(_: dict[str, Any]) -> object:
    # On an empty argument list the kernel says EFAULT or starts nothing of ours; a refusal comes before it looks.
    return _call(59, 221, b"/nonexistent/program", None, None)


@attempt
def execute_memory(_: dict[str, Any]) -> object:
    fd = os.memfd_create("program", 0)
    try:
        os.write(fd, b"no program")
        return _call(322, 281, fd, b"", None, None, 0x1000)
    finally:
        os.close(fd)


def _child(pid: int) -> object:
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


@attempt
def fork(_: dict[str, Any]) -> object:
    return _child(os.fork())


@attempt
def fork_by_number(_: dict[str, Any]) -> object:
    return _child(_call(57, 220, *((17,) if _ARM else ())))


@attempt
def clone(_: dict[str, Any]) -> object:
    return _child(_call(56, 220, signal.SIGCHLD, 0, 0, 0, 0))


@attempt
def clone3(_: dict[str, Any]) -> object:
    return _child(_call(435, 435, ctypes.create_string_buffer(struct.pack("=11Q", *[0] * 4, 17, *[0] * 6)), 88))


@attempt
def clone_with_powers(_: dict[str, Any]) -> object:
    """A new user namespace, in which one is root."""
    return _child(_call(56, 220, signal.SIGCHLD | 0x10000000, 0, 0, 0, 0))


@attempt
def spawn_shell(_: dict[str, Any]) -> object:
    return os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", "exit 0"], {}), 0)


# -- other processes -------------------------------------------------------------------------------------------------


@attempt
def trace(given: dict[str, Any]) -> object:
    return _call(101, 117, 16, given["pid"], 0, 0)


@attempt
def read_memory(given: dict[str, Any]) -> object:
    return _call(310, 270, given["pid"], None, 0, None, 0, 0)


@attempt
def write_memory(given: dict[str, Any]) -> object:
    return _call(311, 271, given["pid"], None, 0, None, 0, 0)


@attempt
def take_descriptor(given: dict[str, Any]) -> object:
    fd = os.pidfd_open(given["pid"])
    try:
        return _call(438, 438, fd, 0, 0)
    finally:
        os.close(fd)


@attempt
def compare(given: dict[str, Any]) -> object:
    return _call(312, 272, os.getpid(), given["pid"], 0, 0, 0)


@attempt
def open_proc_mem(given: dict[str, Any]) -> object:
    return read_file({"path": f"/proc/{given['pid']}/mem"})


@attempt
def open_proc_environ(given: dict[str, Any]) -> object:
    return read_file({"path": f"/proc/{given['pid']}/environ"})


@attempt
def open_proc_descriptors(given: dict[str, Any]) -> object:
    return os.listdir(f"/proc/{given['pid']}/fd")


@attempt
def send_signal(given: dict[str, Any]) -> object:
    os.kill(given["pid"], signal.SIGCONT)
    return True


@attempt
def send_signal_by_descriptor(given: dict[str, Any]) -> object:
    fd = os.pidfd_open(given["pid"])
    try:
        signal.pidfd_send_signal(fd, signal.SIGCONT)
    finally:
        os.close(fd)
    return True


@attempt
def limit_another(given: dict[str, Any]) -> object:
    limits = resource.prlimit(given["pid"], resource.RLIMIT_NOFILE)
    resource.prlimit(given["pid"], resource.RLIMIT_NOFILE, limits)
    return True


@attempt
def slow_another(given: dict[str, Any]) -> object:
    os.setpriority(os.PRIO_PROCESS, given["pid"], 0)
    return True


@attempt
def pin_another(given: dict[str, Any]) -> object:
    os.sched_setaffinity(given["pid"], os.sched_getaffinity(given["pid"]))
    return True


# -- power -----------------------------------------------------------------------------------------------------------


@attempt
def become_root(_: dict[str, Any]) -> object:
    # By number: this thread alone, so that one that is root already does not change its others.
    return _call(117, 147, 0, 0, 0)


@attempt
def become_root_group(_: dict[str, Any]) -> object:
    return _call(119, 149, 0, 0, 0)


@attempt
def join_groups(_: dict[str, Any]) -> object:
    before = array.array("I", os.getgroups())
    _call(116, 159, 2, (ctypes.c_uint32 * 2)(0, 42))
    _call(116, 159, len(before), (ctypes.c_uint32 * len(before))(*before))
    return True


@attempt
def gain_capability(_: dict[str, Any]) -> object:
    """CAP_SYS_ADMIN."""
    bit = 1 << 21
    return _call(
        126,
        91,
        ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0)),
        struct.pack("=6I", bit, bit, 0, 0, 0, 0),
    )


def _simple(name: str, x86: int, arm: int, *arguments: object) -> None:
    def work(_: dict[str, Any]) -> object:
        return _call(x86, arm, *arguments)

    ATTEMPTS[name] = work


_simple("mount", 165, 40, b"none", b"/mnt", b"tmpfs", 0, None)
_simple("unmount", 166, 39, b"/nonexistent", 0)
_simple("change_root", 161, 51, b"/")
_simple("pivot_root", 155, 41, b"/nonexistent", b"/nonexistent")
_simple("move_mount", 429, 429, -100, b"", -100, b"", 0)
_simple("open_tree", 428, 428, -100, b"/", 1)
_simple("open_file_system", 430, 430, b"tmpfs", 0)
_simple("mount_attributes", 442, 442, -100, b"/", 0, None, 0)
_simple("unshare", 272, 97, 0x10000000)
_simple("enter_namespace", 308, 268, 0, 0)
_simple("io_uring", 425, 425, 1, ctypes.create_string_buffer(256))
_simple("bpf", 321, 280, 0, None, 0)
_simple("user_faults", 323, 282, 0)
_simple("key", 250, 219, 0, -3, 0, 0, 0)
_simple("add_key", 248, 217, b"user", b"attack", b"x", 1, -3)
_simple("performance_event", 298, 241, None, 0, -1, -1, 0)
_simple("load_module", 175, 105, None, 0, b"")
_simple("load_module_file", 313, 273, -1, b"", 0)
_simple("load_kernel", 246, 104, 0, 0, None, 0)
_simple("reboot", 169, 142, 0, 0, 0, None)
_simple("swap_on", 167, 224, b"/nonexistent", 0)
_simple("accounting", 163, 89, b"/nonexistent")
_simple("set_time", 164, 170, None, None)
_simple("adjust_time", 159, 171, None)
_simple("set_host_name", 170, 161, b"", 0x7FFFFFFF)
_simple("kernel_log", 103, 116, 10, None, 0)
_simple("ports", 172, -1, 3)
_simple("watch_files", 300, 262, 0, 0)
_simple("quota", 179, 60, 0, None, 0, None)
_simple("move_pages", 279, 239, 0, 0, None, None, None, 0)


@attempt
def other_architecture(_: dict[str, Any]) -> object:
    """x32: the same calls by other numbers."""
    return _call(0x40000000 | 39, -1)


@attempt
def pass_descriptor(given: dict[str, Any]) -> object:
    """Descriptors to the master's control socket."""
    with socket.socket(socket.AF_UNIX) as made:
        made.settimeout(2)
        made.connect(given["path"])
        return made.sendmsg([b"status"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))])


def run(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """``outcome`` done or refused, with the reason."""
    try:
        found = ATTEMPTS[name](given)
    except OSError as error:
        return {
            "outcome": "refused",
            "errno": errno.errorcode.get(error.errno or 0, str(error.errno)),
            "text": str(error),
        }
    except Exception as error:
        return {"outcome": "broken", "text": repr(error)}
    return {"outcome": "done", "found": repr(found)[:200]}
