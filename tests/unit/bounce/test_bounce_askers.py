"""Each program has only that mail returned which it has in its own hands."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from tubepost.common.wire.base import Refused
from tubepost.common.wire.bounce import Done, SendOne

from tubepost.services.bounce.session import Bounce

ID = "4jZLyg6sNQz7ch"


@pytest.mark.parametrize(
    ("program", "queue", "taken"),
    [
        ("pickup", "maildrop", True),
        ("pickup", "active", False),
        ("local", "active", True),
        ("local", "maildrop", False),
    ],
)
def test_a_letter_of_another_queue(
    program: str, queue: str, taken: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = []

    async def report(_: object, message: SendOne, *__: object) -> Done:
        asked.append(message)
        return Done()

    monkeypatch.setattr(Bounce, "_report", report)
    message = SendOne.model_validate(
        {
            "kind": "failure",
            "queue_id": ID,
            "queue": queue,
            "envelope": {"sender": "a@b.test", "arrival_time": 0.0},
            "content_offset": 0,
            "content_length": 1,
            "entries": (),
        }
    )
    bounce: Any = Bounce.__new__(Bounce)
    request: Any = SimpleNamespace(message=message, caller=SimpleNamespace(program=program))
    answer = asyncio.run(bounce._send_one(request))
    assert isinstance(answer, Done if taken else Refused)
    assert asked == ([message] if taken else [])
    assert ("refused" in capfd.readouterr().err) is not taken
