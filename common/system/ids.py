"""Queue ids that never repeat: Postfix's long form with the process in the inode's place.

``4dKq0t2WcKz1Jx``: six characters of seconds, four of microseconds in base 52, ``z``, then the process id in base 51.
Within a process no two ids have the same microsecond; two processes differ behind the ``z``. The name is known before
the file exists, so it can be created under its final name with O_EXCL.
"""

import os
import re
import threading
import time

_ALPHABET = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
_VALUE = {char: value for value, char in enumerate(_ALPHABET)}
_DIGIT = f"[{_ALPHABET}]"
# "z" is left to the separator behind the seconds and microseconds, whose own digits may hold one: hence the counts.
_PATTERN = re.compile(rf"{_DIGIT}{{6}}{_DIGIT}{{4}}z[{_ALPHABET[:-1]}]{{1,8}}")
_MICROS = slice(6, 10)

_last_microsecond = 0
_last_seconds = (0, _ALPHABET[0] * 6)
"""A second, and the characters that stand for it."""
_lock = threading.Lock()


def _encode(number: int, base: int, width: int) -> str:
    digits: list[str] = []
    while number or len(digits) < width:
        number, digit = divmod(number, base)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


_PAIRS = tuple(_encode(number, 52, 2) for number in range(52 * 52))
"""The two characters of each number below 2704."""


def _learn_process() -> None:
    global _process
    _process = _encode(os.getpid(), 51, 1)


_process = ""
# Asking the kernel for each message would cost as much as all the rest.
_learn_process()
os.register_at_fork(after_in_child=_learn_process)


def new_queue_id() -> str:
    """A queue id that no other call on this machine has returned."""
    global _last_microsecond, _last_seconds
    with _lock:
        # A clock that was set back, or two calls in one microsecond: go on from the last one.
        _last_microsecond = now = max(time.time_ns() // 1000, _last_microsecond + 1)
    seconds, micros = divmod(now, 1_000_000)
    known, text = _last_seconds
    if known != seconds:
        text = _encode(seconds, 52, 6)
        _last_seconds = seconds, text
    high, low = divmod(micros, 52 * 52)
    return f"{text}{_PAIRS[high]}{_PAIRS[low]}z{_process}"


def is_queue_id(text: str) -> bool:
    """True for the form that new_queue_id makes: safe as a file name."""
    return _PATTERN.fullmatch(text) is not None


def microsecond(queue_id: str) -> int:
    """0 … 999999: well spread, the base of directory hashing."""
    number = 0
    for char in queue_id[_MICROS]:
        number = number * 52 + _VALUE[char]
    return number
