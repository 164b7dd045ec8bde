"""What another server, or a name, says is not obeyed by the terminal that it is shown on."""

import pytest
from click.exceptions import Exit

from tubepost.commands import accounts
from tubepost.commands.mailbox import places

HOSTILE = "imap.test refuses LOGIN: \x1b]0;owned\x07\x9b31mno\r\n\u202efake"


def test_a_complaint_is_one_line_that_a_terminal_obeys_not(capsys: pytest.CaptureFixture[str]) -> None:
    places.warn(HOSTILE)
    with pytest.raises(Exit):
        accounts.fail(HOSTILE)
    said = capsys.readouterr().err
    assert said.count("refuses LOGIN") == 2
    assert said.count("\n") == 2
    assert said.replace("\n", "").isprintable()
