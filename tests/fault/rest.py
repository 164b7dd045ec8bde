"""A system before and after a fault: everybody has met everybody, and all that must hold at rest holds."""

import os
import re
import time

from tests.fault.actions import WARMING, Scene
from tests.fault.held import Held
from tests.fault.invariants import check_all, drain, in_mailboxes, unfinished, waiting
from tests.fault.rows import YES


def matches(pattern: str, said: str) -> bool:
    return re.match(pattern, said) is not None


def warm(scene: Scene) -> None:
    """All has been done once: what each process holds now is its level."""
    for does in WARMING:
        scene.seen = len(scene.instance.log.lines)
        assert matches(YES, said := does(scene)), said
        drain(scene.instance, scene.accepted, but=("deferred",))
    take_away(scene)
    drain(scene.instance, scene.accepted)
    scene.held = Held(scene.instance)
    scene.held.again()


def take_away(scene: Scene) -> None:
    """What waits in the queue; nobody misses it."""
    scene.taken.update(os.path.basename(path) for path in waiting(scene.instance.spool))
    scene.instance.command("postsuper", "-d", "ALL")
    kept = in_mailboxes(scene.instance.mail)
    scene.accepted = {mark for mark in scene.accepted if mark[0] != "smtp" or mark in kept}


def check_at_rest(scene: Scene) -> None:
    """Nothing is lost, doubled, torn, stray or held; what is removed a moment after its turn is waited for."""
    ends = time.monotonic() + 10
    while True:
        for path in (scene.instance.spool / "defer").rglob("*"):
            # Mail taken away while it was tried is deferred once more; its log is removed when it is an hour old (S7).
            if path.name in scene.taken:
                path.unlink(missing_ok=True)
        try:
            check_all(scene.instance, scene.accepted, but=scene.copied)
            left = unfinished(scene.instance)
            assert not left, f"unfinished in mailboxes: {left[:5]}"
            break
        except AssertionError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.2)
    assert scene.held is not None
    scene.held.check()
