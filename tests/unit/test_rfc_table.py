"""docs/rfcs.md names the examples that are tried, and each of them is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
PLACES = (TESTS / "transcripts" / "rfc", TESTS / "transcripts", TESTS)
ROW = re.compile(r"\| [0-9, ]+ \|[^|]*\|[^|]*\|([^|]*)\|")


def test_every_table_is_named_and_there() -> None:
    named: set[Path] = set()
    for line in (ROOT / "docs" / "rfcs.md").read_text(encoding="utf-8").splitlines():
        if (row := ROW.fullmatch(line)) is not None:
            for name in re.findall("`([^`]+)`", row[1]):
                found = next((place / name for place in PLACES if (place / name).is_file()), None)
                assert found is not None, f"{name} is nowhere: {line}"
                named.add(found)
    there = {path for path in (TESTS / "transcripts").rglob("rfc*") if path.is_file()}
    assert len(named) > 60
    assert not there - named
