"""What another server, or a name, says is not obeyed by the terminal that it is shown on."""

from collections.abc import Iterator

import pytest
from click.exceptions import Exit
from tubepost.common.imap.client import Event, Response

from tubepost.commands import accounts
from tubepost.commands.mailbox import places, remote
from tubepost.commands.mailbox.address import RemoteError, parse_address

HOSTILE = "imap.test refuses LOGIN: \x1b]0;owned\x07\x9b31mno\r\n\u202efake"


def test_a_complaint_is_one_line_that_a_terminal_obeys_not(capsys: pytest.CaptureFixture[str]) -> None:
    places.warn(HOSTILE)
    with pytest.raises(Exit):
        accounts.fail(HOSTILE)
    said = capsys.readouterr().err
    assert said.count("refuses LOGIN") == 2
    assert said.count("\n") == 2
    assert said.replace("\n", "").isprintable()


@pytest.mark.parametrize("host", ["x" * 64 + ".test", "a..test"])
def test_what_no_host_can_be_called_is_said_so(host: str) -> None:
    with pytest.raises(ValueError, match="is not a host name"):
        parse_address(f"imaps://alice@{host}")


def test_a_server_that_answers_without_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def stream(*_: object, **__: object) -> Iterator[Event]:
        while True:
            yield Response(b"*", b"1 EXISTS")

    address = parse_address("imaps://alice@imap.test")
    assert address is not None
    session = object.__new__(remote.Remote)
    session._address = address
    monkeypatch.setattr(remote, "_RESPONSES_LIMIT", 10_000)
    monkeypatch.setattr(session, "stream", stream)
    with pytest.raises(RemoteError, match="without end"):
        session.run(b"NOOP")
