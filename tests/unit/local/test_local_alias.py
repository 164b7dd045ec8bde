"""The right-hand sides of aliases and the lines of forward files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.services.local.alias import Kind, Target, all_targets, targets


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bob", [(Kind.ADDRESS, "bob")]),
        ("bob, alice@x.y carol", [(Kind.ADDRESS, "bob"), (Kind.ADDRESS, "alice@x.y"), (Kind.ADDRESS, "carol")]),
        ("Bob Smith <bob@x.y>, al", [(Kind.ADDRESS, "bob@x.y"), (Kind.ADDRESS, "al")]),
        ('"Smith, Bob" <bob@x.y>', [(Kind.ADDRESS, "bob@x.y")]),
        ("bob (Bob, the builder)", [(Kind.ADDRESS, "bob")]),
        ("bob (a (nested, one) /x |y), al", [(Kind.ADDRESS, "bob"), (Kind.ADDRESS, "al")]),
        ('"|(a; b)", bob (it\'s "x) , al', [(Kind.COMMAND, "(a; b)"), (Kind.ADDRESS, "bob"), (Kind.ADDRESS, "al")]),
        ("/var/mail/x", [(Kind.FILE, "/var/mail/x")]),
        ("/Mail/dir/, ~/box", [(Kind.FILE, "/Mail/dir/"), (Kind.FILE, "~/box")]),
        ('"/with space/x"', [(Kind.FILE, "/with space/x")]),
        ('"|/bin/cat -f, x; y"', [(Kind.COMMAND, "/bin/cat -f, x; y")]),
        ('|"/bin/cat -f"', [(Kind.COMMAND, "/bin/cat -f")]),
        ("|/bin/cat", [(Kind.COMMAND, "/bin/cat")]),
        (r'"| sh -c \"echo \\$x\""', [(Kind.COMMAND, r'sh -c "echo \$x"')]),
        (":include:/etc/list", [(Kind.INCLUDE, "/etc/list")]),
        ('":include:/etc/my list", x', [(Kind.INCLUDE, "/etc/my list"), (Kind.ADDRESS, "x")]),
        (":INCLUDE:/x", [(Kind.INCLUDE, "/x")]),
        (r"\bob", [(Kind.USER, "bob")]),
        (r"\bob, |/bin/x, carol", [(Kind.USER, "bob"), (Kind.COMMAND, "/bin/x"), (Kind.ADDRESS, "carol")]),
        ("bob,,, ,", [(Kind.ADDRESS, "bob")]),
        ("", []),
        ("/one\0two, bob", [(Kind.FILE, "/one")]),
        ("|/bin/x\0 y", [(Kind.COMMAND, "/bin/x")]),
        ("  , ", []),
        ('"quoted local"@x.y', [(Kind.ADDRESS, '"quoted local"@x.y')]),
    ],
)
def test_targets(text: str, expected: list[tuple[Kind, str]]) -> None:
    assert targets(text) == [Target(*pair) for pair in expected]


@given(st.text(alphabet='|/~\\":,<>()@ aI#\n', max_size=60))
def test_no_line_breaks_it_and_nothing_comes_of_nothing(text: str) -> None:
    found = targets(text)
    assert len(found) <= len(text)
    assert all(target.value or target.kind in (Kind.COMMAND, Kind.ADDRESS, Kind.INCLUDE) for target in found)


def test_a_hostile_line_costs_time_linear_in_its_length() -> None:
    for piece in ('"', "\\", "(", "<", "a(", '",', ":include:"):
        targets(piece * (200_000 // len(piece)))


def test_lines_comments_and_long_lines() -> None:
    data = b"# no\nbob\n\n  \n#|/bin/x\nalice, carol\n" + b"x" * 30 + b"\n"
    assert [target.value for target in all_targets(data, 12)] == ["bob", "alice", "carol", "x" * 12, "x" * 12, "x" * 6]
