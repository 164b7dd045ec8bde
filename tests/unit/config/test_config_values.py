"""Times, numbers, words and lists."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.config import values


@pytest.mark.parametrize(
    ("text", "unit", "seconds"),
    [("5", "s", 5), ("5", "d", 432000), ("2m", "d", 120), ("3h", "s", 10800), ("1w", "s", 604800), ("0", "h", 0)],
)
def test_times(text: str, unit: str, seconds: float) -> None:
    assert values.time(text, unit) == seconds


@pytest.mark.parametrize(
    "text", ["", "x", "5x", "-1", "1.5s", "5 s", "1s1s", "²", "٣", "99999999999", "4000w", "9" * 5000]
)
def test_bad_times(text: str) -> None:
    with pytest.raises(ValueError, match="time"):
        values.time(text)


def test_time_bounds() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        values.time("0", low=1)
    with pytest.raises(ValueError, match="at most 10"):
        values.time("11", high=10)


@given(st.integers(0, 3000), st.sampled_from("smhdw"))
def test_a_time_is_what_its_unit_says(number: int, unit: str) -> None:
    seconds = number * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[unit]
    assert values.time(f"{number}{unit}") == values.time(str(number), unit) == seconds


@given(st.text(max_size=12))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    try:
        assert values.time(text) >= 0
    except ValueError:
        pass


@given(st.integers(-(10**12), 10**12))
def test_numbers(number: int) -> None:
    assert values.integer(str(number)) == number


@pytest.mark.parametrize("text", ["", "5k", "1_000", "0x10", "1.0", "5 ", "٣", "9" * 30, "9" * 10000])
def test_bad_numbers(text: str) -> None:
    with pytest.raises(ValueError, match="number"):
        values.integer(text)


def test_booleans_and_choices() -> None:
    assert values.boolean("Yes") is True
    assert values.boolean("no") is False
    assert values.choice("ANY", ("any", "ipv4")) == "any"
    for bad in ("", "true", "1", "y"):
        with pytest.raises(ValueError, match="yes or no"):
            values.boolean(bad)
    with pytest.raises(ValueError, match="any, ipv4"):
        values.choice("ipv5", ("any", "ipv4"))


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", ()),
        (" , ,, ", ()),
        ("a,b c\n\td", ("a", "b", "c", "d")),
        ("{a, b} c", ("{a, b}", "c")),
        ("inline:{a=b, c={d e}}, x", ("inline:{a=b, c={d e}}", "x")),
        ("{a b", ("{a b",)),
        ("a} b", ("a}", "b")),
        ("} a {b c}", ("}", "a", "{b c}")),
    ],
)
def test_lists(text: str, items: tuple[str, ...]) -> None:
    assert values.split(text) == items


@given(st.lists(st.text(alphabet="abc:/!", min_size=1), max_size=6), st.sampled_from([",", " ", ", ", " \n\t,,"]))
def test_items_survive_any_separator(items: list[str], separator: str) -> None:
    assert values.split(separator.join(items)) == tuple(items)


@given(st.text(alphabet="ab{}, ", max_size=40))
def test_a_list_loses_only_separators(text: str) -> None:
    # No item is empty, and all other characters are there, in order.
    items = values.split(text)
    assert all(items)
    assert "".join(items).replace(",", "").replace(" ", "") == text.replace(",", "").replace(" ", "")
