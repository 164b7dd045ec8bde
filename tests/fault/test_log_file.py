"""The log's own file on a disk that is ill: mail goes on, and what was said meanwhile is written when it is well."""

import errno
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.instance import Instance
from tests.fault import traffic
from tests.fault.invariants import UNSEEMLY, Levels, Mark, check_all, drain
from tests.fault.shim import Shim, possible

pytestmark = [pytest.mark.xdist_group("faulty-disk"), pytest.mark.timeout(60)]
Scene = tuple[Instance, Shim, Path, set[Mark]]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    if why := possible():
        pytest.skip(why)
    instance = Instance(main=traffic.QUICK)
    path = instance.root / "data" / "mail.log"
    instance.set_main({"maillog_file": str(path), "maillog_file_prefixes": str(instance.root)})
    with Shim() as shim:
        shim.start(instance)
        try:
            # Everybody has met everybody: what they keep open for each other is their level.
            accepted = {_send(instance, 1)}
            _has(path, "indexed 1 message of INBOX")
            yield instance, shim, path, accepted
        finally:
            instance.stop()
            instance.remove()


def _send(instance: Instance, number: int) -> Mark:
    text = f"Subject: x\nMessage-ID: <log.{number}@x>\n\nmark-log-{number}-\nend\n"
    instance.send("alice@example.test", text)
    return "log", number


def _said(path: Path, number: int, seconds: float = 10.0) -> str:
    """All of the log, once it has this message."""
    return _has(path, f"message-id=<log.{number}@x>", seconds)


def _has(path: Path, words: str, seconds: float = 10.0) -> str:
    ends = time.monotonic() + seconds
    while True:
        text = "".join(file.read_text() for file in sorted(path.parent.glob("mail.log*"), reverse=True))
        if words in text and text.endswith("\n"):
            return text
        assert time.monotonic() < ends, f"{words} is not in the log:\n{text[-2000:]}"
        time.sleep(0.05)


ERRORS = [
    pytest.param(call, error, place == 0, id=f"{call}-{errno.errorcode[error]}")
    for call in ("write", "create")
    for place, error in enumerate((errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EMFILE))
    if (call, error) != ("write", errno.EMFILE)
]


@pytest.mark.parametrize(("call", "error", "short"), ERRORS)
def test_an_error_of_the_log_s_disk(scene: Scene, call: str, error: int, short: bool, long: bool) -> None:
    if not long and not short:
        pytest.skip("of the long form")
    instance, shim, path, accepted = scene
    number = error * 10 + (call == "create")
    accepted.add(_send(instance, number * 100))
    _said(path, number * 100)
    drain(instance, accepted)
    level = Levels(instance)
    if call == "create":
        # Rotated away, and a new one cannot be made.
        path.rename(path.with_name(f"mail.log.{number}"))
    with shim.fault(call, error, "data/mail.log") as fault:
        accepted.add(_send(instance, number * 100 + 1))
        ends = time.monotonic() + 10
        while not fault.hits:
            assert time.monotonic() < ends
            time.sleep(0.02)
        accepted.add(_send(instance, number * 100 + 2))
    accepted.add(_send(instance, number * 100 + 3))
    text = _said(path, number * 100 + 3)
    for one in range(4):
        assert len(re.findall(rf"message-id=<log\.{number * 100 + one}@x>", text)) == 1, f"{one} is lost or twice"
    assert instance.pids("log")
    drain(instance, accepted)
    check_all(instance, accepted, level)
    bad = re.findall(UNSEEMLY, text)
    assert not bad, f"the log shows a fault of ours: {bad}"
