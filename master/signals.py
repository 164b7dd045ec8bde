"""Signals: the handler only notes which came; the loop acts (exit codes and meaning as in Postfix)."""

import os
import signal

# HUP: reload. TERM, INT: stop. CHLD: the template, or a child that lost it.
HANDLED = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


class Signals:
    """``fd`` turns readable when a signal came; ``taken()`` says which, oldest first."""

    def __init__(self) -> None:
        self.fd, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in HANDLED:
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    def taken(self) -> list[int]:
        found: list[int] = []
        try:
            while data := os.read(self.fd, 512):
                found.extend(data)
        except BlockingIOError:
            pass
        return list(dict.fromkeys(found))
