"""Every message there is, to everybody: what the table does not allow is refused, and told in one line of the log."""

from tubepost.common.wire.programs import CALLS

from tests.attack.inside.hostile import DENIED, Hostile, Line


def ask_everybody(hostile: Hostile, line: Line, who: str, closed: frozenset[str] = frozenset()) -> set[str]:
    """Whom the kernel let ``who`` reach. ``closed``: whom it may ask by the table, and need not reach.

    Raises AssertionError.
    """
    due, wrong = {}, []
    before = len(hostile.instance.log.lines)
    for callee, messages in CALLS.items():
        hostile.line(callee)
        names = sorted(name.decode() for name in messages)
        allowed = {name for name in names if who in messages[name.encode()]}
        path = hostile.workers_of(callee)[-1]
        found = line.order("ask", path=str(path), names=names)
        if found["outcome"] == "refused":
            # The kernel: by the socket's mode, or its directory's.
            if found["errno"] not in DENIED or (allowed and callee not in closed):
                wrong.append(f"{callee}: {found}, it may ask {allowed}")
            continue
        for name in names:
            answer = found["answers"].get(name, "no answer")
            unheard = answer.startswith("F no request")
            if name in allowed:
                # Of proxymap's two services one only reads.
                fine = answer.startswith("F malformed") or (callee == "proxymap" and unheard)
            else:
                fine = unheard or answer.startswith(f"F {who} may not ask")
            if not fine:
                wrong.append(f"{callee} {name}: {answer}")
        due[callee] = any(answer.startswith("F ") for answer in found["answers"].values())
    # All at once, by one process, to one: one line, not one a try.
    hostile.settle(due)
    told = {callee: len(hostile.refusals(callee, line, before)) for callee in CALLS}
    assert told == dict.fromkeys(CALLS, 0) | due
    assert not wrong, "\n".join(wrong)
    return set(due)
