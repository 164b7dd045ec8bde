"""Plays tests/transcripts/*.lmtp against the machine: ``C:`` the client says, ``S:`` the reply's line is this.

``X:`` sends the text without a line end, with \\r \\n \\xNN escapes; ``B:`` repeats: ``B: 5000 x``. ``=: name value``
sets a setting. ``!: reply`` answers the next recipient; at the end of content each ``!:`` answers one recipient.
``$: text``: the content that came through must be this. ``LOST``: a transaction was given up since. ``END`` asserts
that the session is over. ``#`` is a comment.
"""

import dataclasses
from pathlib import Path

import pytest

from tubepost.services.lmtpd import events
from tubepost.services.lmtpd.protocol import Machine, Settings, State

FOLDER = Path(__file__).parents[2] / "transcripts"
TRANSCRIPTS = sorted(FOLDER.glob("*.lmtp"))


class Player:
    def __init__(self, settings: Settings) -> None:
        self.machine = Machine(settings)
        self.machine.tls_offered = True
        self.answers: list[str] = []
        self.content = b""
        self.ended = self.lost = False
        self.machine.greet()
        self.said: list[str] = []
        self.collect()

    def feed(self, data: bytes, whole: bool) -> None:
        for piece in [data] if whole else [data[place : place + 1] for place in range(len(data))]:
            self.machine.receive(piece)
            while (event := self.machine.next_event()) is not None:
                self.react(event)
        self.collect()

    def react(self, event: events.Event) -> None:
        machine = self.machine
        match event:
            case events.Recipient():
                if self.answers and self.answers[0] != "ok":
                    machine.refuse(self.answers.pop(0))
                else:
                    machine.accept()
            case events.Begin():
                self.content = b""
            case events.Content():
                self.content += event.data
            case events.End():
                replies = [self.answers.pop(0) if self.answers else "250 2.0.0 Ok" for _ in machine.recipients]
                machine.finished(replies)
            case events.Lost():
                self.lost = True
            case events.StartTls():
                machine.reply("220 2.0.0 Ready")
                machine.forget_input()
                machine.secured()
            case events.Hangup():
                self.ended = True

    def collect(self) -> None:
        self.said += b"".join(self.machine.output).decode().split("\r\n")[:-1]
        self.machine.output.clear()


def _unescape(text: str) -> bytes:
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


def _play(path: Path, whole: bool) -> None:
    settings = Settings("mx.test", "mx.test LMTP")
    player: Player | None = None

    def playing() -> Player:
        nonlocal player
        if player is None:
            player = Player(settings)
        return player

    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        kind, _, text = line.partition(": ") if ": " in line else (line.rstrip(":"), "", "")
        where = f"{path.name}:{number}"
        if not line or line.startswith("#"):
            continue
        if kind == "=":
            name, _, value = text.partition(" ")
            settings = dataclasses.replace(settings, **{name: int(value) if value.isdigit() else value})  # type: ignore[arg-type]
        elif kind == "!":
            playing().answers.append(text)
        elif kind == "C":
            playing().feed(text.encode() + b"\r\n", whole)
        elif kind == "X":
            playing().feed(_unescape(text), whole)
        elif kind == "B":
            count, _, what = text.partition(" ")
            playing().feed(_unescape(what) * int(count), True)
        elif kind == "S":
            said = playing().said
            assert said, f"{where}: nothing more was said"
            got = said.pop(0)
            assert got == text, f"{where}: got {got!r}"
        elif kind == "$":
            assert playing().content == _unescape(text), where
        elif kind == "LOST":
            assert playing().lost, where
            playing().lost = False
        elif kind == "END":
            assert playing().ended and playing().machine.state is State.CLOSED, where
        else:
            raise AssertionError(f"{where}: what is {kind}?")
    assert not playing().said, f"{path.name}: not expected: {playing().said}"


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "bytes"])
def test_transcript(path: Path, whole: bool) -> None:
    _play(path, whole)


def test_there_are_transcripts() -> None:
    assert len(TRANSCRIPTS) >= 6
