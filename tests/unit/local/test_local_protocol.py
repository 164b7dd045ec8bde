"""What local knows of a recipient, and how outcomes add up."""

from itertools import permutations

import pytest

from tubepost.common.wire.delivery import RecipientStatus

from tubepost.services.local.protocol import (
    Rights,
    Seen,
    censor,
    combine,
    fill,
    split_recipient,
    unprivileged,
    without_success,
)


@pytest.mark.parametrize(
    ("recipient", "delimiter", "expected"),
    [
        ("Bob@Host", "+", ("bob", "host", "bob", "", "")),
        ("Bob+Ext+x@h", "+", ("bob+ext+x", "h", "bob", "ext+x", "+")),
        ("bob-x+y@h", "+-", ("bob-x+y", "h", "bob", "x+y", "-")),
        ("bob+../x@h", "+", ("bob", "h", "bob", "", "")),
        ("bob+x@h", "", ("bob+x", "h", "bob+x", "", "")),
        ("+x@h", "+", ("+x", "h", "+x", "", "")),
        ('"a b"@h', "+", ("a b", "h", "a b", "", "")),
        ("owner-x@h", "-", ("owner-x", "h", "owner-x", "", "")),
        ("nobody", "+", ("nobody", "", "nobody", "", "")),
        ("@h", "+", ("", "h", "", "", "")),
    ],
)
def test_split_recipient(recipient: str, delimiter: str, expected: tuple[str, ...]) -> None:
    assert split_recipient(recipient, delimiter) == expected


def test_fill_tells_what_is_missing_and_whether_the_extension_counts() -> None:
    values = {"home": "/home/bob", "user": "bob", "recipient_delimiter": "+", "extension": "a/../b;c"}
    path = "$home/.forward${recipient_delimiter}${extension}"
    allowed = "abcdefghijklmnopqrstuvwxyz/."
    assert fill(path, values, allowed) == ("/home/bob/.forward_a/../b_c", False, True)
    assert fill(path, values) == ("/home/bob/.forward+a/../b;c", False, True)
    del values["extension"]
    assert fill(path, values) == ("/home/bob/.forward+", True, False)
    # Asking whether there is one is no use of it.
    assert fill("$home/x${extension?{-$extension}:{}}", values) == ("/home/bob/x", False, False)
    assert fill("$$home $(user)", values) == ("$home bob", False, False)


def test_values_are_not_filled_again() -> None:
    assert fill("$user", {"user": "$home", "home": "x"}).text == "$home"


def test_censor_takes_each_character_as_itself() -> None:
    assert censor("a-c]")("abc-]^\n;") == "a_c-]___"


def _status(kind: str, dsn: str, text: str = "t") -> RecipientStatus:
    return RecipientStatus(offset=7, status=kind, dsn=dsn, text=text)  # type: ignore[arg-type]


def test_what_waits_keeps_the_recipient_and_failure_is_told_before_success() -> None:
    sent, bounced, deferred = _status("sent", "2.0.0"), _status("bounced", "5.1.1"), _status("deferred", "4.3.0")
    for order in permutations((sent, bounced, deferred)):
        assert combine(1, list(order), "expanded").status == "deferred"
    assert combine(1, [sent, bounced], "expanded").status == "bounced"
    assert combine(1, [sent, sent], "expanded").status == "expanded"
    assert combine(1, [sent], "") == sent.model_copy(update={"offset": 1})
    assert combine(1, [], "").status == "sent"
    both = combine(1, [_status("bounced", "5.1.1", "a"), _status("bounced", "5.1.2", "b")], "")
    assert both.text == "a; b"
    probe = [_status("deliverable", "2.0.0")]
    assert combine(1, probe, "expanded").status == "deliverable"


def test_success_is_told_once() -> None:
    assert without_success(("SUCCESS", "FAILURE")) == ("FAILURE",)
    assert without_success(("SUCCESS",)) == ("NEVER",)
    assert without_success(()) == ()


def test_what_is_remembered_is_bounded() -> None:
    seen = Seen(2)
    assert [seen.again(word) for word in ("a", "A", "b", "c", "c")] == [False, True, False, False, False]
    unlimited = Seen(0)
    assert not any(unlimited.again(str(number)) for number in range(5000))
    assert unlimited.again("4999")


def test_nothing_runs_as_root_nor_in_its_group() -> None:
    default = Rights(65534, 65534, "nobody")
    assert unprivileged(Rights(0, 0, "root"), default) == default
    assert unprivileged(Rights(0, 5), default) == default
    assert unprivileged(Rights(11, 0, "operator", "/root"), default) == Rights(11, 65534, "operator", "/root")
    assert unprivileged(Rights(11, 11), default) == Rights(11, 11)
