"""The answers of services: who was taken over asks in good form for what is others', and is not told.

The table allows some of it: smtpd may ask who bob is, and may not be told his password's hash.
"""

import base64
import re
from collections.abc import Callable

import pytest

from tubepost.common.wire.programs import CALLS, PROGRAMS, USER

from tests.attack.inside.hostile import DENIED, LETTER, LISTED, MEANS, PROGRAM_NAMES, QUEUES, SECRET, Hostile
from tests.attack.inside.questions import CALLEES, HINTS, leaks, questions, secrets

pytestmark = MEANS
REFUSED = re.compile(r"F (\w+ may not ask |no request )")


@pytest.mark.parametrize("program", [*PROGRAM_NAMES, USER])
def test_no_answer_has_a_secret(program: str, hostile: Hostile) -> None:
    line = hostile.person() if program == USER else hostile.line(program)
    for queue in QUEUES:
        hostile.plant(queue)
    hostile.plant_queued()
    kept = secrets(hostile)
    wrong, asked, answered = [], set(), set()
    for callee in CALLEES:
        hostile.line(callee)
        said = questions(hostile, callee)
        found = line.order("converse", path=str(hostile.workers_of(callee)[-1]), said=said)
        if found["outcome"] == "refused":
            assert found["errno"] in DENIED, (callee, found)
            continue
        assert found["outcome"] == "done", (callee, found)
        for (kind, text), answers in zip(said, found["answers"], strict=True):
            name = text.partition("\n")[0]
            if program not in CALLS[callee].get(name.encode(), ()):
                # In good form, and refused all the same.
                if len(answers) != 1 or not REFUSED.match(answers[0]):
                    wrong.append(f"{callee}: {name}: {answers}")
                continue
            if kind == "endless":
                continue
            if not answers:
                wrong.append(f"{callee}: {name} is not answered: {text[:200]}")
            elif answers[-1].startswith("R "):
                answered.add(callee)
            if name not in HINTS:
                asked.add(callee)
        everything = [answer for some in found["answers"] for answer in some]
        wrong += [f"{callee} told {what}" for what in leaks(everything, kept)]
        if callee == "proxymap" and callee in PROGRAMS[program].calls:
            # The first table is listed, the others are not.
            assert LISTED in found["answers"][0][0], found["answers"][0]
            assert not [answer for some in found["answers"][1:] for answer in some if '"value"' in answer]
    assert not wrong, "\n".join(wrong)
    # They were questions, and no nonsense: of each callee that answers this one.
    assert answered == asked


@pytest.mark.parametrize("coded", [bytes, base64.b64encode, bytes.hex], ids=["plain", "base64", "hexadecimal"])
def test_a_secret_in_an_answer_would_be_seen(coded: Callable[[bytes], bytes | str], hostile: Hostile) -> None:
    kept = secrets(hostile)
    for what, secret in kept.items():
        said = coded(secret)
        if isinstance(said, bytes):
            if not said.isascii():
                continue  # bytes that are no text come in base64 alone
            said = said.decode()
        assert what in leaks([f'R {{"data":"{said}"}}'], kept), what
    assert leaks([f"I {LETTER}", SECRET.decode()], kept)
    assert not leaks(['R {"value":null}', "F malformed"], kept)
