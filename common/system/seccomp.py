"""A seccomp filter: system calls that no mail program needs are refused with EPERM (seccomp(2), classic BPF)."""

import ctypes
import errno
import platform
import struct

_PR_SET_SECCOMP = 22
_MODE_FILTER = 2
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
# Offsets in struct seccomp_data.
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_CLONE_THREAD = 0x00010000
_X32_BIT = 0x40000000

# name: (x86_64, aarch64); -1: not there.
_NEVER = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "open_by_handle_at": (304, 265),
    "unshare": (272, 97),
    "setns": (308, 268),
    "chroot": (161, 51),
    "quotactl": (179, 60),
    "io_uring_setup": (425, 425),
}
_PROGRAMS = {"execve": (59, 221), "execveat": (322, 281), "fork": (57, -1), "vfork": (58, -1)}
_CLONE, _CLONE3 = (56, 220), (435, 435)
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}


def _statement(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _filter(*, programs: bool, chroot: bool) -> bytes:
    """The program text. Raises KeyError on an architecture without numbers."""
    column, audit = _ARCHITECTURES[platform.machine()]
    refuse = _statement(_RETURN, _ERRNO | errno.EPERM)
    parts = [
        _statement(_LOAD, _ARCHITECTURE),
        _statement(_JUMP_EQUAL, audit, 1, 0),
        refuse,  # another architecture's calls would have other numbers
        _statement(_LOAD, _NUMBER),
    ]
    if column == 0:
        parts += [_statement(_JUMP_SET, _X32_BIT, 0, 1), refuse]
    refused = [numbers[column] for name, numbers in _NEVER.items() if not (chroot and name == "chroot")]
    if not programs:
        refused += [numbers[column] for numbers in _PROGRAMS.values()]
        # The C library falls back to clone, whose flags can be looked at.
        parts += [
            _statement(_JUMP_EQUAL, _CLONE3[column], 0, 1),
            _statement(_RETURN, _ERRNO | errno.ENOSYS),
            _statement(_JUMP_EQUAL, _CLONE[column], 0, 4),
            _statement(_LOAD, _FIRST_ARGUMENT),
            _statement(_JUMP_SET, _CLONE_THREAD, 1, 0),
            refuse,
            _statement(_RETURN, _ALLOW),
        ]
    for number in refused:
        if number >= 0:
            parts += [_statement(_JUMP_EQUAL, number, 0, 1), refuse]
    parts.append(_statement(_RETURN, _ALLOW))
    return b"".join(parts)


def restrict(*, programs: bool, chroot: bool = False) -> bool:
    """Filter this thread and all that it starts. False where this machine cannot.

    ``programs``: it may start other programs (fork, exec). ``chroot``: and give them a root directory. Needs
    no_new_privs. Raises OSError when the kernel refuses.
    """
    try:
        text = _filter(programs=programs, chroot=chroot)
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
