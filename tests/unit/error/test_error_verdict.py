"""What a next hop means to the error program."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.services.error.protocol import UNAVAILABLE, verdict


@pytest.mark.parametrize(
    ("service", "nexthop", "expected"),
    [
        ("error", "5.7.1 closed", ("5.7.1", "closed")),
        ("error", "closed", ("5.0.0", "closed")),
        ("error", "4.7.1 closed", ("5.0.0", "closed")),
        ("error", "2.0.0 fine", ("5.0.0", "fine")),
        ("retry", "closed", ("4.0.0", "closed")),
        ("retry", "4.4.1  later", ("4.4.1", "later")),
        ("retry", "5.4.1 later", ("4.0.0", "later")),
        ("error", "5.1.1", ("5.1.1", UNAVAILABLE)),
        ("error", "", ("5.0.0", UNAVAILABLE)),
        ("error", "5.1.1x is text", ("5.0.0", "5.1.1x is text")),
    ],
)
def test_verdict(service: str, nexthop: str, expected: tuple[str, str]) -> None:
    assert verdict(service, nexthop) == expected


def test_only_its_two_names_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="error or retry"):
        verdict("errors", "5.1.1 x")


@given(st.text())
def test_retry_never_bounces_and_error_never_waits(nexthop: str) -> None:
    assert verdict("retry", nexthop)[0].startswith("4.")
    assert verdict("error", nexthop)[0].startswith("5.")
