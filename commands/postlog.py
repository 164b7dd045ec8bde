"""postlog: writes lines into the mail log, for scripts (Postfix manual: postlog(1)).

    postlog [-iv] [-c config_dir] [-p priority] [-t tag] [text...]

The words are one line; without words each line of standard input is one. Priorities: info, warn, error, fatal, panic.
Lines go to standard error as well. While the log program does not run they go to maillog_file or to syslog directly.
"""

import sys
import time
from collections.abc import Sequence

from tubepost.common.system import log

from tubepost.commands.console import Console, Fatal, read_options, run

_USAGE = "[-c config_dir] [-i] [-p priority] [-t tag] [-v] [text]"
_LEVELS = {
    "info": "info",
    "warn": "warning",
    "warning": "warning",
    "error": "error",
    "err": "error",
    "fatal": "fatal",
    "crit": "fatal",
    "panic": "panic",
}
# More is cut by the log anyway.
_LINE_LIMIT = 65_536


def _work(console: Console, arguments: Sequence[str]) -> int:
    options, words = read_options(console, arguments, "c:ip:t:v", _USAGE)
    level = "info"
    for letter, value in options:
        if letter == "c":
            console.directory = value
        elif letter == "p":
            found = _LEVELS.get(value.lower())
            if found is None:
                raise Fatal(1, f'bad severity: "{value}"')
            level = found
        elif letter == "t":
            console.tag = log.clean(value)
    console.open(chdir=False)
    if words:
        console.report(level, " ".join(words))
    else:
        while line := sys.stdin.buffer.readline(_LINE_LIMIT):
            console.report(level, line.decode("utf-8", "replace").rstrip("\n"))
    if level in ("fatal", "panic"):
        # As every program that ends so: a script in a loop is slowed down.
        time.sleep(1)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    console = Console("postlog")
    return run(console, lambda: _work(console, sys.argv[1:] if arguments is None else arguments), 1)


if __name__ == "__main__":
    sys.exit(main())
