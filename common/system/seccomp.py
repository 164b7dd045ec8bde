"""A seccomp filter: system calls that no mail program needs are refused with EPERM (seccomp(2), classic BPF)."""

import ctypes
import errno
import platform
import socket
import struct

_PR_SET_SECCOMP = 22
_MODE_FILTER = 2
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
# Offsets in struct seccomp_data.
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _SECOND_ARGUMENT = 0, 4, 16, 24
_CLONE_THREAD = 0x00010000
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET: with a user namespace come powers in it.
_CLONE_NEW = 0x7E020000
_X32_BIT = 0x40000000

# name: (x86_64, aarch64); -1: not there.
_NEVER = {
    # Others' memory and descriptors.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    # File systems, and ways to a file around its directory.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "fanotify_init": (300, 262),
    "chroot": (161, 51),
    # The kernel itself.
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "syslog": (103, 116),
    "iopl": (172, -1),
    "ioperm": (173, -1),
    "modify_ldt": (154, -1),
    "vhangup": (153, 58),
    # The machine.
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    # Other namespaces.
    "unshare": (272, 97),
    "setns": (308, 268),
}
_PROGRAMS = {"execve": (59, 221), "execveat": (322, 281), "fork": (57, -1), "vfork": (58, -1)}
# Others' share of the machine: programs of the same account could starve each other.
_SCHEDULING = {
    "sched_setparam": (142, 118),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
}
# By name, which Landlock does not look at: what a directory's owner may do to files that this program may not open.
_MODES = {
    "chmod": (90, -1),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, -1),
    "lchown": (94, -1),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
}
_PRLIMIT, _SETPRIORITY, _SETSCHEDULER = (302, 261), (141, 140), (144, 119)
_CLONE, _CLONE3, _SOCKET = (56, 220), (435, 435), (41, 198)
# Families that a program with network needs: the C library asks netlink which addresses this host has.
_NETWORK = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)
_NO_NETWORK = (socket.AF_UNIX,)
# AF_PACKET, RDS, CAN, TIPC, BLUETOOTH, ALG, VSOCK, KCM, QIPCRTR, XDP: not for users' commands either.
_STRANGE = (17, 21, 29, 30, 31, 38, 40, 41, 42, 44)
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}


def _statement(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _on_first_argument(number: int, tests: list[bytes], otherwise: bytes) -> list[bytes]:
    """A block for one call: its first argument is loaded and looked at, and what no test decides ends ``otherwise``."""
    return [
        _statement(_JUMP_EQUAL, number, 0, len(tests) + 2),
        _statement(_LOAD, _FIRST_ARGUMENT),
        *tests,
        otherwise,
    ]


def _filter(*, programs: bool, chroot: bool, network: bool = True, modes: bool = True) -> bytes:
    """The program text. Raises KeyError on an architecture without numbers."""
    column, audit = _ARCHITECTURES[platform.machine()]
    refuse = _statement(_RETURN, _ERRNO | errno.EPERM)
    allow = _statement(_RETURN, _ALLOW)
    parts = [
        _statement(_LOAD, _ARCHITECTURE),
        _statement(_JUMP_EQUAL, audit, 1, 0),
        refuse,  # another architecture's calls would have other numbers
        _statement(_LOAD, _NUMBER),
    ]
    if column == 0:
        parts += [_statement(_JUMP_SET, _X32_BIT, 0, 1), refuse]
    # Its flags are behind a pointer, where no filter can look: the C library falls back to clone.
    parts += [_statement(_JUMP_EQUAL, _CLONE3[column], 0, 1), _statement(_RETURN, _ERRNO | errno.ENOSYS)]
    cloning = [_statement(_JUMP_SET, _CLONE_NEW, 0, 1), refuse]
    if not programs:
        cloning += [_statement(_JUMP_SET, _CLONE_THREAD, 1, 0), refuse]
    parts += _on_first_argument(_CLONE[column], cloning, allow)
    # Limits of others; one's own go by process 0.
    parts += _on_first_argument(_PRLIMIT[column], [_statement(_JUMP_EQUAL, 0, 1, 0), refuse], allow)
    if not programs:
        # One's own as well: PRIO_PROCESS is 0, and so is oneself.
        is_zero = [_statement(_JUMP_EQUAL, 0, 1, 0), refuse]
        own = [*is_zero, _statement(_LOAD, _SECOND_ARGUMENT), *is_zero]
        parts += _on_first_argument(_SETPRIORITY[column], own, allow)
        # ZeroMQ sets its threads to what they are, SCHED_OTHER; by any other policy a sibling could be starved.
        ordinary = [_statement(_LOAD, _SECOND_ARGUMENT), *is_zero]
        parts += _on_first_argument(_SETSCHEDULER[column], ordinary, allow)
    no_family = _statement(_RETURN, _ERRNO | errno.EAFNOSUPPORT)
    if programs:
        opening = [part for family in _STRANGE for part in (_statement(_JUMP_EQUAL, family, 0, 1), no_family)]
        parts += _on_first_argument(_SOCKET[column], opening, allow)
    else:
        # A program of ours has these families and no others: no datagrams past Landlock, no raw packets, no virtual
        # machine's host, no kernel cryptography.
        families = _NETWORK if network else _NO_NETWORK
        opening = [part for family in families for part in (_statement(_JUMP_EQUAL, int(family), 0, 1), allow)]
        parts += _on_first_argument(_SOCKET[column], opening, no_family)
    refused = [numbers[column] for name, numbers in _NEVER.items() if not (chroot and name == "chroot")]
    if not programs:
        refused += [numbers[column] for numbers in (*_PROGRAMS.values(), *_SCHEDULING.values())]
    if not modes:
        refused += [numbers[column] for numbers in _MODES.values()]
    for number in refused:
        if number >= 0:
            parts += [_statement(_JUMP_EQUAL, number, 0, 1), refuse]
    parts.append(allow)
    return b"".join(parts)


def is_known() -> bool:
    """Is there a filter for this machine?"""
    return platform.machine() in _ARCHITECTURES


def restrict(*, programs: bool, chroot: bool = False, network: bool = True, modes: bool = True) -> bool:
    """Filter this thread and all that it starts. False where this machine cannot.

    ``programs``: it may start other programs (fork, exec). ``chroot``: and give them a root directory. ``network``: it
    may open sockets of the internet's families; without ``programs`` no others but UNIX sockets can be opened in any
    case. ``modes``: it may change modes and owners of files by name. Needs no_new_privs. Raises OSError when the kernel
    refuses.
    """
    try:
        text = _filter(programs=programs, chroot=chroot, network=network, modes=modes)
    except KeyError:
        return False
    library = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(text, len(text))
    program = struct.pack("=HxxxxxxQ", len(text) // 8, ctypes.addressof(buffer))
    if library.prctl(_PR_SET_SECCOMP, _MODE_FILTER, program, 0, 0) != 0:
        number = ctypes.get_errno()
        if number == errno.EINVAL:
            return False  # a kernel without it
        raise OSError(number, "the seccomp filter was refused")
    return True
