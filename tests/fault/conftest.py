"""``--long``: the long forms, of a minute and more each (``make fault``)."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the long forms of tests/fault")


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--long", False))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Rows of the long form are no tests of the short one: left out, not skipped."""
    if config.getoption("--long", False):
        return
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        (left if params.get("short") is False else kept).append(item)
    if left:
        items[:] = kept
        config.hook.pytest_deselected(items=left)
