"""docs/parameters.md is the page that the declarations make."""

from pathlib import Path

from tubepost.common.config import DECLARED
from tubepost.common.config.reference import page


def test_the_committed_page_is_current() -> None:
    committed = Path(__file__).parents[3] / "docs" / "parameters.md"
    assert committed.read_text(encoding="utf-8") == page(), (
        "run: python -m tubepost.common.config.reference > docs/parameters.md"
    )


def test_every_parameter_is_on_it() -> None:
    text = page()
    assert [name for name in DECLARED if f"`{name}`" not in text] == []
