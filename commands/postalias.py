"""postalias: builds, changes and asks alias tables (Postfix manual: postalias(1)).

As postmap, for sources of the form ``name: address, |command, /file, :include:/list`` (aliases(5)); no -b -F -h -m.
"""

import sys
from collections.abc import Sequence

from tubepost.common.tables.source import read_aliases

from tubepost.commands.postmap import Command, run

_OPTIONS = "c:d:fijnNopq:rsuvw"
_USAGE = "[-fijnNoprsuvw] [-c config_dir] [-d key] [-q key] [map_type:]file..."


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    return run(Command("postalias", _OPTIONS, _USAGE, read_aliases), arguments)


if __name__ == "__main__":
    sys.exit(main())
