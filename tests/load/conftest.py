"""``--soak``: minutes of mixed traffic besides the short load test; ``--soak-seconds`` says how many seconds."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the long test of tests/load as well")
    parser.addoption("--soak-seconds", type=int, default=300, help="how long it takes, seconds")
