"""A person of this system, of no account of ours, knocks at every door and looks for what is not theirs.

Without root the person is the account that all belongs to: then the table alone is tried.
"""

import pytest

from tubepost.common.wire.programs import CALLS, USER
from tubepost.common.bus import server

from tests.attack.inside.drills import stolen
from tests.attack.inside.hostile import MEANS, PROGRAM_NAMES, ROOT, Hostile
from tests.attack.inside.refusing import ask_everybody

pytestmark = MEANS


def test_a_person_may_ask_what_the_row_of_people_says(hostile: Hostile) -> None:
    line = hostile.person()
    reached = ask_everybody(hostile, line, USER)
    if hostile.apart:
        private = {callee for callee in reached if hostile.workers_of(callee)[-1].parent.name == "private"}
        assert not private, f"people are let into private: {private}"
    assert reached >= {callee for callee, messages in CALLS.items() if any(USER in who for who in messages.values())}


def test_a_person_knocks_at_every_door(hostile: Hostile) -> None:
    """By the kernel's word: what is private, and what only programs call, lets nobody else in."""
    line = hostile.person()
    for program in PROGRAM_NAMES:
        if program in ("smtpd", "imapd", "pop3d"):
            continue  # they listen to the network
        path = hostile.socket_of(program)
        found = line.order("connect_unix", path=str(path))
        if hostile.apart and (path.parent.name == "private" or program == "cleanup"):
            assert found["outcome"] == "refused" and found["errno"] == "EACCES", (program, found)
        elif program != "log":  # datagrams
            assert found["outcome"] == "done", (program, found)
    found = line.order("connect_unix", path=str(hostile.instance.spool / "pid" / "master.sock"))
    assert not hostile.apart or (found["outcome"] == "refused" and found["errno"] == "EACCES"), found


@pytest.mark.skipif(not ROOT, reason="without root the person owns it all")
def test_a_person_reads_nothing_of_others(hostile: Hostile) -> None:
    assert not stolen(hostile, USER)


def test_what_a_person_says_is_bounded(hostile: Hostile) -> None:
    line = hostile.person()
    victim = hostile.line("auth")
    path = str(hostile.workers_of("auth")[-1])
    found = line.order("exceed", path=path, size=server._LARGEST_FRAME + 1, count=5000, asked="auth/1 Begin")
    assert found["ended"] and "user may not ask auth/1 Begin" in found["answer"], found
    assert victim.lives and victim.order("nothing")["outcome"] == "done"
    hostile.settle(["auth"])
    assert len(hostile.refusals("auth", line)) == 1
