"""One instance with attackers in it, for all tests of the folder."""

from collections.abc import Iterator

import pytest

from tests.attack.inside.hostile import Hostile

MEMORY = 256 << 20
"""Bytes that a program may have there: enough for each of them, and soon full."""


@pytest.fixture(scope="session")
def hostile() -> Iterator[Hostile]:
    made = Hostile({"process_memory_limit": str(MEMORY)})
    try:
        yield made.start()
    finally:
        made.close()
