"""main.cf: logical lines, settings, faults; and edits that keep everything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.config import edit, mainfile

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
TEXTS = st.from_regex(r"([a-z$,:/={}]([ -~]{0,20}[!-~])?)?", fullmatch=True)


def parsed(text: str) -> dict[str, str]:
    return {setting.name: setting.value for setting in mainfile.parse(text)[0]}


def test_lines_continue_across_comments_and_empty_lines() -> None:
    text = "# top\na = one\n\n  # aside\n# aside\n  two\n\t three\nb=4\n"
    assert mainfile.parse(text) == (
        (mainfile.Setting("a", "one  two\t three", 2), mainfile.Setting("b", "4", 8)),
        (),
    )


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("a=b", "a", "b"),
        ("a = b = c ", "a", "b = c"),
        ("a =", "a", ""),
        ("a\t=\tb # not a comment", "a", "b # not a comment"),
        ("2bounce_notice_recipient = x", "2bounce_notice_recipient", "x"),
        ("a = b\r", "a", "b"),
    ],
)
def test_settings(line: str, name: str, value: str) -> None:
    assert parsed(line) == {name: value}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a", "missing '='"),
        ("a b = c", "missing '='"),
        ("= c", "missing attribute name"),
        ("a = b\0c", "null byte"),
    ],
)
def test_bad_lines_are_faults_with_their_line(line: str, words: str) -> None:
    found, faults = mainfile.parse(f"\nx = 1\n{line}\ny = 2\n", "/etc/main.cf")
    assert [setting.name for setting in found] == ["x", "y"]
    (fault,) = faults
    assert (fault.file, fault.line, fault.severity) == ("/etc/main.cf", 3, "error")
    assert words in fault.reason


def test_a_continuation_of_nothing_is_ignored_with_a_warning() -> None:
    found, faults = mainfile.parse("  a = b\nc = d\n")
    assert [setting.name for setting in found] == ["c"]
    assert [(fault.line, fault.severity) for fault in faults] == [(1, "warning")]


def test_the_last_of_two_counts_and_is_told_of() -> None:
    found, faults = mainfile.parse("a = 1\nb = 2\na = 3\n")
    assert {setting.name: setting.value for setting in found} == {"a": "3", "b": "2"}
    assert [(fault.line, fault.name, fault.severity) for fault in faults] == [(3, "a", "warning")]
    assert "line 1" in faults[0].reason


@given(st.dictionaries(NAMES, TEXTS, max_size=6), st.booleans())
def test_what_is_rendered_is_parsed(settings: dict[str, str], broken: bool) -> None:
    joint = "\n\n# aside\n  " if broken else " "
    text = "".join(f"{name} = {value.replace(' ', joint)}\n" for name, value in settings.items())
    # Where a continuation would begin with #, it is a comment by the rules of the file.
    if broken and any(" #" in value for value in settings.values()):
        return
    assert {name: value.split() for name, value in parsed(text).items()} == {
        name: value.split() for name, value in settings.items()
    }


@given(st.text(max_size=80))
def test_any_text_is_parsed(text: str) -> None:
    found, faults = mainfile.parse(text)
    assert all(setting.name for setting in found)
    assert all(fault.line > 0 for fault in faults)


# Edits.

FILE = "# first\na = 1\n  2\n# within\n  3\n# before b\nb = 4\n\n# last"


def test_set_in_place_and_at_the_end() -> None:
    text, repeated = edit.set_values(FILE, {"a": "9", "z": "0", "d": "8"})
    assert text == "# first\na = 9\n# within\n# before b\nb = 4\n\n# last\nd = 8\nz = 0\n"
    assert repeated == []


def test_a_name_found_twice_is_reported() -> None:
    assert edit.set_values("a = 1\na = 2\n", {"a": "3"}) == ("a = 3\na = 3\n", ["a"])


def test_remove() -> None:
    assert edit.remove(FILE, ["a"]) == "# first\n# within\n# before b\nb = 4\n\n# last\n"


def test_comment_out() -> None:
    assert edit.comment_out(FILE, ["a"]) == "# first\n#a = 1\n#  2\n# within\n#  3\n# before b\nb = 4\n\n# last\n"


def test_names_are_not_prefixes() -> None:
    assert edit.remove("ab = 1\na=2\n", ["a"]) == "ab = 1\n"


@given(st.text(alphabet="ab =#\n \t\x0c\u2028", max_size=60))
def test_no_edit_changes_nothing(text: str) -> None:
    whole = text if text.endswith("\n") or not text else text + "\n"
    assert edit.remove(text, []) == whole
    assert edit.comment_out(text, []) == whole
    assert edit.set_values(text, {}) == (whole, [])


@given(st.text(alphabet="ab =#\n\t", max_size=60), TEXTS)
def test_what_is_set_is_read_back(text: str, value: str) -> None:
    before = parsed(text)
    after = parsed(edit.set_values(text, {"a": value})[0])
    assert after == before | {"a": value}
