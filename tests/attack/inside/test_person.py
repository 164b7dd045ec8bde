"""A person of this system, of no account of ours, knocks at every door and looks for what is not theirs.

Without root the person is the account that all belongs to: then the table alone is tried.
"""

import pytest

from tubepost.common.wire.programs import CALLS, USER
from tubepost.common.bus import server

from tests.attack.inside.drills import stolen
from tests.attack.inside.hostile import DENIED, MEANS, PROGRAM_NAMES, ROOT, Hostile

pytestmark = MEANS


def test_a_person_may_ask_what_the_row_of_people_says(hostile: Hostile) -> None:
    line = hostile.person()
    due, wrong = {}, []
    before = len(hostile.instance.log.lines)
    for callee, messages in CALLS.items():
        hostile.line(callee)
        names = sorted(name.decode() for name in messages)
        allowed = {name for name in names if USER in messages[name.encode()]}
        path = hostile.workers_of(callee)[-1]
        found = line.order("ask", path=str(path), names=names)
        if found["outcome"] == "refused":
            if found["errno"] not in DENIED or allowed:
                wrong.append(f"{callee}: {found}, people may ask {allowed}")
            continue
        if hostile.apart and path.parent.name == "private":
            wrong.append(f"{callee}: people are let into private")
        for name in names:
            answer = found["answers"].get(name, "no answer")
            refused = answer.startswith("F ") and ("user may not ask" in answer or "no request" in answer)
            fine = answer.startswith("F malformed") if name in allowed else refused
            if not fine:
                wrong.append(f"{callee} {name}: {answer}")
        due[callee] = any(answer.startswith("F ") for answer in found["answers"].values())
    hostile.settle(due)
    told = {callee: len(hostile.refusals(callee, line, before)) for callee in CALLS}
    assert told == dict.fromkeys(CALLS, 0) | due
    assert not wrong, "\n".join(wrong)
    assert due.keys() >= {callee for callee, messages in CALLS.items() if any(USER in who for who in messages.values())}


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
