"""The drills: arbitrary code in one program, and nobody's mail, queue or password is read; others are served."""

import os
import signal
import threading
import time
from collections import Counter

import pytest

from tubepost.common.wire.programs import PROGRAMS

from tests.attack.inside.drills import DRILLS, Drill, nonsense, others_are_served, read, stolen, submit
from tests.attack.inside.hostile import LANDLOCK, MEANS, ROOT, Hostile
from tests.fakes.instance import PATIENCE

pytestmark = MEANS
MAILS = 5


@pytest.mark.parametrize("drill", DRILLS, ids=lambda drill: drill.program)
def test_with_a_hostile_program_others_are_served(drill: Drill, hostile: Hostile) -> None:
    """It floods every service that it may call, with what is well formed and with nonsense, and looks for secrets."""
    program = drill.program
    # A new one, of which nobody has complained yet.
    line = hostile.fresh(program)
    callees = sorted(PROGRAMS[program].calls)
    paths = []
    for callee in callees:
        hostile.line(callee)
        paths += [str(path) for path in hostile.workers_of(callee)]
    others_are_served(hostile, f"before {program}")
    before = len(hostile.instance.log.lines)
    begun = time.monotonic()
    said = [*drill.said, *nonsense(program)]
    assert line.order("flood", paths=paths, said=said, payload=2000, seconds=3.0)["outcome"] == "done"

    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            submit(hostile, f"during {program} {number}")
            assert read(hostile, f"before {program}")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(MAILS)]
    for thread in threads:
        thread.start()
    # Without Landlock, programs of one account read one another's files.
    if LANDLOCK or (ROOT and PROGRAMS[program].account != "queue"):
        assert not stolen(hostile, program)
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert not failed, failed
    hostile.instance.log.wait(r"to=<bob@example.test>.*status=sent", count=MAILS, start=before)
    for number in range(MAILS):
        assert read(hostile, f"during {program} {number}")
    for callee in callees:
        assert hostile.line(callee).order("nothing")["outcome"] == "done", callee
    # What it says is told of by each that heard it, once in ten seconds, not each time.
    hostile.settle(callees)
    for callee in callees:
        told = Counter(hostile.refusals(callee, line, before))
        most = 1 + int((time.monotonic() - begun) / 10)
        assert len(told) == sum(path.startswith(f"{hostile.socket_of(callee)}.") for path in paths), (callee, told)
        assert max(told.values()) <= most, (callee, told, most)
    lines = hostile.instance.log.lines[before:]
    assert len(lines) < 1000, lines[:: len(lines) // 50]
    # The end of it: another takes its place.
    assert line.lives
    os.kill(line.pid, signal.SIGKILL)
    others_are_served(hostile, f"after {program}")
    assert hostile.is_whole()


def test_a_program_that_holds_many_connections_keeps_nobody_out(hostile: Hostile) -> None:
    line = hostile.line("smtpd")
    paths = [str(hostile.socket_of(callee)) for callee in ("rewrite", "cleanup", "auth", "anvil")]
    held = line.order("hold_lines", paths=paths, count=300)
    assert held["outcome"] == "done" and held["count"] > 600
    before = len(hostile.instance.log.lines)
    try:
        submit(hostile, "held lines")
        hostile.instance.log.wait(r"to=<bob@example.test>.*status=sent", start=before)
    finally:
        line.order("release_lines")


def test_after_all_of_it_the_system_is_whole(hostile: Hostile) -> None:
    others_are_served(hostile, "the last")
    assert hostile.is_whole()
    assert not [text for text in hostile.instance.log.lines if "panic:" in text or "Traceback" in text]
