"""``--soak``: half an hour of mixed traffic besides the short load tests; ``--soak-seconds`` says how long it is."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the long test of tests/load as well")
    parser.addoption("--soak-seconds", type=int, default=1800, help="how long it takes, seconds")
