"""What a callback or a task raises that nobody looks at is in the log: after ``tubepost start`` nobody has stderr."""

import asyncio

import pytest

from tubepost.common.system import log
from tubepost.common.skeleton import life


def _fall() -> None:
    raise ValueError("nobody\nlooks")


def test_it_is_in_the_log_with_its_place(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    monkeypatch.setattr(log, "panic", lines.append)

    async def work() -> None:
        running = asyncio.get_running_loop()
        running.set_exception_handler(life.uncaught)
        running.call_soon(_fall)
        await asyncio.sleep(0)
        running.call_exception_handler({"message": "no error at all"})

    asyncio.run(work())
    first, second = lines
    assert "ValueError: nobody\nlooks at " in first and __file__ in first
    assert second == "no error at all"
    assert capfd.readouterr().err == ""


def test_an_error_without_a_place_is_described() -> None:
    assert log.describe(KeyError("x")) == "KeyError: 'x'"
