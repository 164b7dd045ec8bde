"""What a test started does not outlive it, however the test ends."""

import os
import subprocess


class Tie:
    """Between this process and a process group: when this one is gone without ``loosen``, be it by kill -9, the group
    is sent SIGTERM.
    """

    def __init__(self, group: int, pid_file: str = "") -> None:
        """``pid_file``: with the process of another group that is to end, too."""
        read, self._write = os.pipe()
        # A shell at the other end of the pipe, in a session of its own so that no Ctrl-C reaches it. A line is a good
        # end, the end of the pipe is not.
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", 'read line || kill -TERM $(cat "$1") "-$0"', str(group), pid_file or os.devnull],
            stdin=read,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(read)

    def loosen(self) -> None:
        """The group has ended, or may live on."""
        os.write(self._write, b"\n")
        os.close(self._write)
        self._watcher.wait()
