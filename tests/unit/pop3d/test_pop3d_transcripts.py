"""Plays tests/transcripts/*.pop3 against the machine: ``C:`` the client says, ``S:`` the reply's line is this.

``X:`` sends the text without a line end, with \\r \\n \\xNN escapes; ``B:`` repeats: ``B: 5000 x``. ``=: name value``
sets a setting, ``@: name value`` an attribute of the machine. ``!: text`` answers the next login or Auth: ``ok``,
``challenge text``, or ``fail code text``. ``?: Event`` asserts the event that was seen last. ``END`` asserts that the
session is over. ``...`` at the end of an ``S:`` line stands for anything. ``#`` is a comment.

The maildrop has three messages of 120, 200 and 80 octets, UIDs 1, 3 and 7, UIDVALIDITY 0x65.
"""

import dataclasses
from pathlib import Path

import pytest

from tubepost.services.pop3d import events, rendering
from tubepost.services.pop3d.maildrop import Maildrop, uidl_format
from tubepost.services.pop3d.protocol import Machine, Settings, State

FOLDER = Path(__file__).parents[2] / "transcripts"
TRANSCRIPTS = sorted(FOLDER.glob("*.pop3"))
MESSAGES = (b"Subject: one\n\n.dot\nbody\n", b"Subject: two\n\nbody", b"Subject: three\n\n1\n2\n3\n")


class Player:
    def __init__(self, settings: Settings, attributes: dict[str, object]) -> None:
        self.machine = Machine(settings)
        self.machine.mechanisms = ("PLAIN", "SCRAM-SHA-256")
        self.machine.tls_offered = True
        for name, value in attributes.items():
            setattr(self.machine, name, value)
        self.answers: list[str] = []
        self.seen: list[events.Event] = []
        self.ended = False
        self.machine.greet()
        self.said: list[str] = []
        self.collect()

    def feed(self, data: bytes, whole: bool) -> None:
        for piece in [data] if whole else [data[place : place + 1] for place in range(len(data))]:
            self.machine.receive(piece)
            while (event := self.machine.next_event()) is not None:
                self.seen.append(event)
                self.react(event)
        self.collect()

    def react(self, event: events.Event) -> None:
        machine = self.machine
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

    def collect(self) -> None:
        self.said += self.machine.take_output().decode().split("\r\n")[:-1]


def _play(path: Path, whole: bool) -> None:
    settings = Settings("ready", "tubepost")
    attributes: dict[str, object] = {}
    player: Player | None = None

    def playing() -> Player:
        nonlocal player
        if player is None:
            player = Player(settings, attributes)
        return player

    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        kind, _, text = line.partition(": ") if ": " in line else (line.rstrip(":"), "", "")
        where = f"{path.name}:{number}"
        if not line or line.startswith("#"):
            continue
        if kind == "=":
            name, _, value = text.partition(" ")
            settings = dataclasses.replace(settings, **{name: int(value) if value.isdigit() else value})  # type: ignore[arg-type]
        elif kind == "@":
            name, _, value = text.partition(" ")
            attributes[name] = tuple(value.split()) if name == "mechanisms" else value
        elif kind == "!":
            playing().answers.append(text)
        elif kind == "C":
            playing().feed(text.encode() + b"\r\n", whole)
        elif kind == "X":
            playing().feed(text.encode("latin-1").decode("unicode_escape").encode("latin-1"), whole)
        elif kind == "B":
            count, _, what = text.partition(" ")
            playing().feed(what.encode() * int(count), True)
        elif kind == "S":
            said = playing().said
            assert said, f"{where}: nothing more was said"
            got = said.pop(0)
            assert got.startswith(text[:-3]) if text.endswith("...") else got == text, f"{where}: got {got!r}"
        elif kind == "?":
            assert type(playing().seen[-1]).__name__ == text, where
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
