"""What each program may touch: one table, applied by ``confine`` once the sockets are inherited, before any input."""

import os

from tubepost.common.wire.master import Birth
from tubepost.common.config import Config


def confine(birth: Birth, config: Config) -> None:
    """Drop what this program does not need."""
    os.umask(0o077)
