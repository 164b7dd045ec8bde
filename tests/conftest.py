"""For all tests: how hypothesis explores, what SIGINT does, a directory for those that run as other accounts."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# A change is judged by the same examples on every machine; exploring goes on wherever a person runs the tests.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "explore")

# A shell has what runs in its background ignore it, and so would all that is started here: tests of it mean a terminal.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def open_path() -> Iterator[Path]:
    """Where every account may read and write. Not below pytest's own, which each run of pytest closes to others."""
    path = Path(tempfile.mkdtemp(prefix="tp-open-", dir="/tmp"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)
