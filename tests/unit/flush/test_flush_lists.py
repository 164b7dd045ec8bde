"""The lists: each id once, none of another's, old ones come up, empty ones go."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.system.ids import new_queue_id

from tubepost.services.flush.lists import Lists, list_name


@given(st.text(max_size=300))
def test_no_site_leads_out_of_the_directory(site: str) -> None:
    try:
        name = list_name(site)
    except ValueError:
        return
    assert "/" not in name and "." not in name and 0 < len(name) <= 250


@pytest.mark.parametrize("site", ["", ".", "..", "/", "[]", "x" * 251, "___"])
def test_what_is_no_site_has_no_list(site: str) -> None:
    with pytest.raises(ValueError):
        list_name(site)


def test_a_list_is_taken_once_in_order_without_doubles(tmp_path: Path) -> None:
    lists = Lists(str(tmp_path))
    first, second = new_queue_id(), new_queue_id()
    lists.add("a", [first], 1.0)
    lists.add("a", [second, first], 2.0)
    assert lists.take("b", 3.0) == []
    assert lists.take("a", 3.0) == [first, second]
    assert lists.take("a", 4.0) == []


def test_what_is_no_queue_id_is_passed_over(tmp_path: Path) -> None:
    lists = Lists(str(tmp_path))
    good = new_queue_id()
    (tmp_path / "a").write_bytes(b"../../etc/passwd\n\xff\n" + good.encode() + b"\n" + good[:5].encode())
    assert lists.take("a", 1.0) == [good]


def test_lists_that_nobody_asks_for_come_up_and_empty_ones_go(tmp_path: Path) -> None:
    lists = Lists(str(tmp_path))
    lists.add("full", [new_queue_id()], 1000.0)
    lists.add("full", [new_queue_id()], 5000.0)
    lists.add("empty", [new_queue_id()], 1000.0)
    lists.take("empty", 1000.0)
    assert list(lists.due(1000.0 + 4999, 5000, 7000)) == []
    # Adding to a list does not make it young.
    assert list(lists.due(1000.0 + 5000, 5000, 7000)) == ["full"]
    assert (tmp_path / "empty").exists()
    list(lists.due(1000.0 + 7000, 5000, 7000))
    assert not (tmp_path / "empty").exists() and (tmp_path / "full").exists()


def test_a_list_has_a_limit(tmp_path: Path) -> None:
    lists = Lists(str(tmp_path))
    (tmp_path / "a").touch()
    os.truncate(tmp_path / "a", 8_000_000)
    lists.add("a", [new_queue_id()], 1.0)
    assert (tmp_path / "a").stat().st_size == 8_000_000
