"""Plays tests/transcripts/*.lmtp (``tests/fakes/transcript.py`` says how they are written).

``!: reply`` answers the next recipient; at the end of content each ``!:`` answers one recipient. ``$: text``: the
content that came through must be this. ``LOST``: a transaction was given up since.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.fakes import transcript
from tubepost.services.lmtpd import events
from tubepost.services.lmtpd.protocol import Machine, Settings

FOLDER = Path(__file__).parents[2] / "transcripts"
TRANSCRIPTS = sorted(FOLDER.glob("*.lmtp"))


class Player(transcript.Player):
    def __init__(self, settings: Settings, _: dict[str, str]) -> None:
        machine = Machine(settings)
        machine.tls_offered = True
        self.content = b""
        self.lost = False
        super().__init__(machine)

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

    def check_content(self, text: str) -> None:
        assert self.content == transcript.unescape(text)

    def check_lost(self, _: str) -> None:
        assert self.lost
        self.lost = False

    @property
    def marks(self) -> Mapping[str, Callable[[str], None]]:
        return {"$": self.check_content, "LOST": self.check_lost}


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "bytes"])
def test_transcript(path: Path, whole: bool) -> None:
    transcript.play(path, Settings("mx.test", "mx.test LMTP"), Player, whole=whole)


def test_there_are_transcripts() -> None:
    assert len(TRANSCRIPTS) >= 6
