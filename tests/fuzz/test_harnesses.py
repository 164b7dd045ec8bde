"""Each harness for a while, in a process of its own; and that a harness can fail.

What a harness finds is printed and kept in build/fuzz; mended, it goes to cases/, where every run tries it.
"""

import random
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.fuzz import driver

_ROOT = Path(__file__).parent.parent.parent
_SECONDS = 20


@pytest.mark.fuzz
@pytest.mark.parametrize("name", driver.names())
def test_nothing_breaks_it(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", name, f"-max_total_time={_SECONDS}"],
        cwd=_ROOT,
        capture_output=True,
        timeout=110,
    )
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert done.returncode == 0, said[-6000:]
    assert "none breaks it" in said
    if driver.GUIDED:
        assert f"{name}: atheris, " in said
        units = re.search(r"stat::number_of_executed_units: (\d+)", said)
        assert units and int(units[1]) > len(driver.load(name).seeds), "the guide tried nothing"


def test_the_guide_is_required_where_it_can_be_had() -> None:
    """What the driver says of this machine is what is installed on it."""
    with open(_ROOT / "pyproject.toml", "rb") as file:
        wanted = tomllib.load(file)["project"]["optional-dependencies"]["test"]
    (line,) = [Requirement(text) for text in wanted if text.startswith("atheris")]
    assert line.marker is not None
    assert line.marker.evaluate() == driver.GUIDED


def test_there_is_no_silent_way_around_the_guide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "atheris", None)
    monkeypatch.setattr(driver, "GUIDED", True)
    with pytest.raises(SystemExit, match="not installed"):
        driver.main(["dns", "-max_total_time=1"])


@pytest.mark.parametrize("name", driver.names())
def test_what_broke_it_once_is_mended(name: str) -> None:
    harness = driver.load(name)
    for data in [*harness.seeds, *(path.read_bytes() for path in driver.cases(name))]:
        driver.run_one(harness, data)


@pytest.mark.parametrize("name", driver.names())
def test_without_a_guide(name: str) -> None:
    harness = driver.load(name)
    assert driver.plain(name, harness, 0.3, random.Random(7)) > 0


def test_cases_belong_to_harnesses() -> None:
    assert {path.name for path in (driver.HERE / "cases").iterdir()} <= set(driver.names())


def _refuses_two_a(_: int, data: bytes) -> None:
    assert b"aa" not in data


def test_a_fault_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(driver, "FINDS", tmp_path)
    harness = driver.Harness(_refuses_two_a, [b"a", b"b"], [b"\0ab"])
    with pytest.raises(AssertionError):
        driver.plain("planted", harness, 20, random.Random(1))
    (kept,) = tmp_path.iterdir()
    assert b"aa" in kept.read_bytes()
    assert "broken by" in capfd.readouterr().err


def _quadratic(_: int, data: bytes) -> None:
    for place in range(0, len(data), 2):
        data[place:].count(b"(")


def test_what_takes_too_long_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "FINDS", tmp_path)
    harness = driver.Harness(_quadratic, [b"("], seconds=0.05)
    with pytest.raises(driver.Slow):
        driver.grow("planted", harness, 20, random.Random(1))


def test_pieces_are_the_whole() -> None:
    for size in (0, 1, 999, 1000, 5000):
        pieces = driver.one_by_one(bytes(size))
        assert b"".join(pieces) == bytes(size)
        assert len(pieces) == min(size, len(pieces)) <= 1000
    assert driver.spell([b"one ", b"two "], b"\0\1z") == b"one two z"
