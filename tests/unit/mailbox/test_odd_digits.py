"""Digits that Python's str.isdigit knows and int does not: a name of a file must not make a folder unreadable."""

from pathlib import Path

import pytest

from tubepost.common.mailbox.maildir import migration, scan


@pytest.mark.parametrize("digits", ["²", "①", "9" * 5000])
def test_what_another_server_left_is_passed_over(tmp_path: Path, digits: str) -> None:
    (tmp_path / "dovecot-uidlist").write_text(f"3 V7 N3 G0\n{digits} :a\n2 :b\n")
    (tmp_path / "dovecot-keywords").write_text(f"{digits} Work\n1 Home\n")
    found = migration.read_uidlist(str(tmp_path))
    assert found is not None
    assert found.uids == {"b": 2}
    assert migration.read_keywords(str(tmp_path)) == {"b": "Home"}
    (tmp_path / "dovecot-uidlist").write_text(f"3 V{digits} N3 G0\n2 :b\n")
    assert migration.read_uidlist(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("name", "expected"), [("1700.M1.h:2,S", 1700), ("².M1.h:2,S", 5), ("①②.x", 5), ("9" * 5000, 5)]
)
def test_the_time_in_a_name(name: str, expected: int) -> None:
    assert scan._delivered(name, 5) == expected
