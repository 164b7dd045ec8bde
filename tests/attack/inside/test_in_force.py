"""``tubepost services --privileges``: as the table says where it is so, and what differs where it does not."""

import json
import resource
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tubepost.common.wire.programs import PROGRAMS, row_of
from tubepost.common.skeleton import privileges

from tests.attack.inside.conftest import MEMORY
from tests.attack.inside.hostile import MEANS, PROGRAM_NAMES, ROOT, Hostile, Line
from tests.fakes.instance import PATIENCE
from tubepost.commands import privileges as commands_privileges
from tubepost.commands.tubepost import main as tubepost

pytestmark = MEANS
VICTIM = "discard"
LIMITS = {"files": resource.RLIMIT_NOFILE, "data": resource.RLIMIT_DATA, "processes": resource.RLIMIT_NPROC}
# Of a process that was not confined at all, as the one of the fixture is: all that the kernel tells of it.
ALWAYS = {"no_new_privs", "seccomp", "core", "data"}
AS_ROOT = {"uid", "gid", "capabilities", "bounds", "network"}


def command(hostile: Hostile, *options: str) -> tuple[int, str]:
    found = hostile.instance.command("tubepost", "services", "--privileges", *options)
    return found.returncode, found.stdout


def test_what_is_in_force_is_what_the_table_says(hostile: Hostile) -> None:
    for program in PROGRAM_NAMES:
        hostile.line(program)
    status, text = command(hostile)
    assert status == 0, text
    assert "DIFFERS" not in text
    assert text.count("as the table says") >= len(PROGRAM_NAMES)
    assert text.count(f"data {MEMORY}") >= 2 * len(PROGRAM_NAMES)
    for name in ("core 0", "files ", "processes "):
        assert text.count(f"  {name}") >= 2 * len(PROGRAM_NAMES), name


def looked(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[dict[str, Any]]]:
    """The exit status, and the processes of --json: by the command in this process, which looks once."""
    monkeypatch.setattr("tubepost.commands.privileges._LOOKS", 1)
    monkeypatch.setattr("tubepost.commands.privileges._YOUTH", 0.0)
    monkeypatch.setenv("MAIL_CONFIG", str(hostile.instance.conf))
    found = CliRunner().invoke(tubepost, ["services", "--privileges", "--json"])
    rows, _ = json.JSONDecoder().raw_decode(found.output)
    return found.exit_code, [{"program": row["program"], **process} for row in rows for process in row["processes"]]


def confined(hostile: Hostile, line: Line) -> None:
    """Until it is, and the master has heard of it from the template."""
    assert line.order("nothing")["outcome"] == "done"
    deadline = time.monotonic() + PATIENCE
    while line.pid not in hostile.instance.pids(VICTIM):
        assert time.monotonic() < deadline, f"the master knows of no {VICTIM}[{line.pid}]"
        time.sleep(0.01)


@pytest.fixture
def unconfined(hostile: Hostile) -> Iterator[int]:
    """The pid of a program that was begun without being confined."""
    mark = Path(hostile.place) / f"unconfined-{VICTIM}"
    mark.touch()
    try:
        line = hostile.fresh(VICTIM)
        confined(hostile, line)
        yield line.pid
    finally:
        mark.unlink()
        hostile.fresh(VICTIM)


def test_a_program_that_was_not_confined_differs(
    hostile: Hostile, unconfined: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, text = command(hostile)
    assert status == 1
    (line,) = (line for line in text.splitlines() if "DIFFERS" in line)
    assert line.split()[:2] == ["process", str(unconfined)]
    want = ALWAYS | (AS_ROOT if ROOT else set())
    assert set(line.partition("DIFFERS: ")[2].split(", ")) - {"groups"} == want
    status, processes = looked(hostile, monkeypatch)
    (process,) = (process for process in processes if process["differs"])
    assert status == 1 and process["pid"] == unconfined
    assert set(process["differs"]) - {"groups"} == want
    assert process["table"]["no_new_privs"] == "1" and process["kernel"]["no_new_privs"] == "0"


# What the table would say, of a process that is as the true table says; and what then differs.
@pytest.mark.parametrize(
    ("change", "as_root", "without"),
    [
        ({"network": True}, {"network"}, set()),
        ({"account": "queue"}, {"uid", "gid"}, set()),
        ({"borrows": True}, {"groups"}, set()),
        ({"sees": True}, {"capabilities", "bounds"}, set()),
        ({"programs": True}, {"data"}, {"data"}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_each_property_that_differs_is_named(
    change: dict[str, Any], as_root: set[str], without: set[str], hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    confined(hostile, hostile.line(VICTIM))
    changed = replace(PROGRAMS[VICTIM], **change)
    monkeypatch.setattr(privileges, "row_of", lambda program: changed if program == VICTIM else row_of(program))
    status, processes = looked(hostile, monkeypatch)
    want = as_root if ROOT else without
    differs = {process["program"]: set(process["differs"]) for process in processes if process["differs"]}
    assert differs == ({VICTIM: want} if want else {})
    assert status == bool(want)


def test_a_limit_that_was_changed_is_named(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    line = hostile.fresh(VICTIM)
    for name, number in LIMITS.items():
        confined(hostile, line)
        soft, hard = (
            resource.RLIM_INFINITY if word == "unlimited" else int(word)
            for word in commands_privileges._limits_of(line.pid)[name]
        )
        assert (
            line.order("limit_itself", limit=number, to=(1 << 20 if soft < 0 else soft - 1, hard))["outcome"] == "done"
        )
        status, processes = looked(hostile, monkeypatch)
        assert status == 1
        differing = {process["pid"]: process["differs"] for process in processes if process["differs"]}
        assert differing == {line.pid: [name]}
        assert line.order("limit_itself", limit=number, to=(soft, hard))["outcome"] == "done"
    assert looked(hostile, monkeypatch)[0] == 0
