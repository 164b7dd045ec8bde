"""Run within the domain that ``network`` makes: look-ups by nis: and proxy:nis:, and a server that is gone."""

import asyncio
import os
import resource
import signal
import sys
from pathlib import Path

from tubepost.common.tables import TableEnvironment, TableError, nis, open_table

from tests.fakes.instance import Instance

directory = Path(sys.argv[1])
environment = TableEnvironment(warn=lambda text: None)


def opened(name: str) -> nis.NisTable:
    table = open_table(f"nis:{name}", environment=environment, strict=True)
    assert isinstance(table, nis.NisTable)
    return table


async def look_ups() -> None:
    table = opened("aliases")
    assert await table.lookup("alice") == "alice@example.test"
    assert await table.lookup("ALICE") == "alice@example.test", "keys are in lower case"
    assert await table.lookup("long") == "x" * 900
    assert await table.lookup("words") == "one two  three"
    assert await table.lookup("umlaut") == "ä"
    for key in ("nobody", "", "alice\0", "x" * 2000, "alice "):
        assert await table.lookup(key) is None, key
    assert await asyncio.gather(*(table.lookup("alice") for _ in range(50))) == ["alice@example.test"] * 50
    try:
        await opened("nowhere").lookup("alice")
    except TableError as error:
        assert "nis:nowhere" in str(error) and "map" in str(error).lower(), error
    else:
        raise AssertionError("a map that is not there was asked")


async def no_leak() -> None:
    table = opened("aliases")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3000):
        await table.lookup("long")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 1500, f"{grown} KiB more for 3,000 values of 900 bytes"


def by_mail() -> None:
    """cleanup has no network: it asks proxymap."""
    with Instance(main={"virtual_alias_maps": "proxy:nis:mail"}) as instance:
        instance.send("team@example.test")
        instance.log.wait(r"to=<alice@example\.test>, orig_to=<team@example\.test>.*status=sent")


async def server_gone() -> None:
    os.kill(int((directory / "ypserv.pid").read_text()), signal.SIGKILL)
    nis._DEADLINE = 1.0
    table = opened("aliases")
    answers = await asyncio.gather(*(table.lookup("alice") for _ in range(5)), return_exceptions=True)
    assert all(isinstance(answer, TableError) and "does not answer" in str(answer) for answer in answers), answers


asyncio.run(look_ups())
asyncio.run(no_leak())
by_mail()
asyncio.run(server_gone())
print("all is well", flush=True)
# Not waiting for the library, which still tries.
os._exit(0)
