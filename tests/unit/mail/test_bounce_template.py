"""bounce(5): what is understood of a template file, and what is complained of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.mail.template import BUILT_IN, expand_times, parse

GOOD = """
# comment
failure_template = <<END
Charset: iso-8859-1
From: Nobody <x@y>
subject: Gone
Postmaster-Subject: Copy of gone

Dear $myhostname,
  # no comment here
EOF
END

delay_template=<<EOF
No header at all.
EOF
"""


def test_a_file_changes_what_it_says_and_nothing_else() -> None:
    found, complaints = parse(GOOD)
    assert complaints == []
    failure = found["failure_template"]
    assert (failure.charset, failure.sender, failure.subject) == ("iso-8859-1", "Nobody <x@y>", "Gone")
    assert failure.postmaster_subject == "Copy of gone"
    assert failure.text == "Dear $myhostname,\n  # no comment here\nEOF\n"
    assert found["delay_template"].text == "No header at all.\n"
    assert found["delay_template"].subject == BUILT_IN["delay_template"].subject
    assert found["success_template"] is BUILT_IN["success_template"]


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("other_template = <<EOF\nx\nEOF\n", "unknown template"),
        ("rubbish\n", "neither"),
        ("failure_template = <<EOF\nX-Other: 1\n\nx\nEOF\n", "unknown header X-Other"),
        ("failure_template = <<EOF\nSubject: \u00fc\n\nx\nEOF\n", "printable ASCII"),
    ],
)
def test_what_is_wrong_is_told_and_the_rest_is_used(source: str, complaint: str) -> None:
    found, complaints = parse(source + GOOD)
    assert any(complaint in line for line in complaints)
    assert found["failure_template"].subject in ("Gone", BUILT_IN["failure_template"].subject)
    assert set(found) == set(BUILT_IN)


def test_a_template_without_end_is_none() -> None:
    found, complaints = parse("failure_template = <<EOF\nx\n")
    assert "does not end" in complaints[0] and found == BUILT_IN


@given(st.text(max_size=300))
def test_no_file_breaks_the_reader(source: str) -> None:
    found, _ = parse(source)
    assert set(found) == set(BUILT_IN)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$delay_warning_time_hours h", "4 h"),
        ("${maximal_queue_lifetime_days}d $(maximal_queue_lifetime_weeks)w", "5d 0w"),
        ("$delay_warning_time_minutes/$delay_warning_time_seconds", "240/14400"),
        ("$$delay_warning_time_hours $myhostname", "$$delay_warning_time_hours $myhostname"),
        ("$delay_warning_time $bounce_queue_lifetime_days", "$delay_warning_time $bounce_queue_lifetime_days"),
    ],
)
def test_times_are_said_in_their_unit(text: str, result: str) -> None:
    values = {"delay_warning_time": 14_400.0, "maximal_queue_lifetime": 432_000.0}
    assert expand_times(text, values.get) == result
