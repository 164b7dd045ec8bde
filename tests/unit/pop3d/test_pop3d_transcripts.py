"""Plays tests/transcripts/*.pop3 (``tests/fakes/transcript.py`` says how they are written).

``@: name value`` sets an attribute of the machine. ``!: text`` answers the next login or Auth: ``ok``, ``challenge
text``, or ``fail code text``. ``?: Event`` asserts the event that was seen last.

The maildrop has three messages of 120, 200 and 80 octets, UIDs 1, 3 and 7, UIDVALIDITY 0x65.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.fakes import transcript
from tubepost.services.pop3d import events, rendering
from tubepost.services.pop3d.maildrop import Maildrop, uidl_format
from tubepost.services.pop3d.protocol import Machine, Settings

FOLDER = Path(__file__).parents[2] / "transcripts"
TRANSCRIPTS = sorted(FOLDER.glob("*.pop3"))
MESSAGES = (b"Subject: one\n\n.dot\nbody\n", b"Subject: two\n\nbody", b"Subject: three\n\n1\n2\n3\n")


class Player(transcript.Player):
    def __init__(self, settings: Settings, attributes: dict[str, str]) -> None:
        machine = Machine(settings)
        machine.mechanisms = ("PLAIN", "SCRAM-SHA-256")
        machine.tls_offered = True
        for name, value in attributes.items():
            setattr(machine, name, tuple(value.split()) if name == "mechanisms" else value)
        self.seen: list[events.Event] = []
        super().__init__(machine)

    def react(self, event: events.Event) -> None:
        machine = self.machine
        self.seen.append(event)
        match event:
            case events.Retrieve():
                data = MESSAGES[event.place]
                drop = machine.maildrop
                assert drop is not None
                if event.lines is None:
                    machine.output.append(rendering.whole(data, drop.sizes[event.place]))
                else:
                    machine.reply("+OK")
                    machine.output += rendering.pieces(data, rendering.top_end(data, event.lines))
            case events.Quit():
                machine.bye(not self.answers or self.answers.pop(0) == "ok")
            case events.Hangup():
                self.ended = True
            case events.StartTls():
                machine.reply("+OK Begin")
                machine.forget_input()
                machine.secured()
            case events.AuthAbandoned() | events.Full():
                pass
            case _:
                word, _, rest = (self.answers.pop(0) if self.answers else "ok").partition(" ")
                if word == "ok":
                    machine.logged_in(Maildrop((1, 3, 7), (120, 200, 80), 0x65, uidl_format("%08Xu%08Xv")))
                elif word == "challenge":
                    machine.challenge(rest.encode())
                else:
                    code, _, text = rest.partition(" ")
                    machine.fail(text, code)

    def check_seen(self, text: str) -> None:
        assert type(self.seen[-1]).__name__ == text

    @property
    def marks(self) -> Mapping[str, Callable[[str], None]]:
        return {"?": self.check_seen}


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "bytes"])
def test_transcript(path: Path, whole: bool) -> None:
    transcript.play(path, Settings("ready", "tubepost"), Player, whole=whole)


def test_there_are_transcripts() -> None:
    assert len(TRANSCRIPTS) >= 6
