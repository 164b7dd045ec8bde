"""Plays tests/transcripts/*.smtp against the machine: ``C:`` the client says, ``S:`` the reply's line begins so.

``X:`` sends the text without a line end, with \\r \\n \\xNN escapes; ``B:`` repeats: ``B: 5000 x``. ``=: name value``
sets a setting before the session begins, ``TLS: offered`` (or required) and ``AUTH: PLAIN …`` say what may be used.
``!: 550 5.7.1 text`` is the answer to the next event that asks. ``#`` is a comment. ``$: text``: the content that came
through must be this (escapes as in X). ``END`` asserts that the session is over, ``LOG: text`` that a line was logged
that holds it.
"""

import dataclasses
from pathlib import Path

import pytest

from tubepost.services.smtpd import events
from tubepost.services.smtpd.protocol import Machine
from tubepost.services.smtpd.settings import Settings
from tubepost.services.smtpd.tables import State

FOLDER = Path(__file__).parents[2] / "transcripts"
TRANSCRIPTS = sorted(FOLDER.glob("*.smtp"))


class Player:
    """The simplest driver: says yes to everything, unless told to say no."""

    def __init__(self, settings: Settings) -> None:
        self.machine = Machine(settings, "client.example[192.0.2.9]")
        self.answers: list[str] = []
        self.content = b""
        self.said: list[str] = []
        self.ended = False
        self.slept = 0.0
        self.lost = 0

    def start(self) -> None:
        self.machine.greet()
        self.collect()

    def collect(self) -> None:
        while (event := self.machine.next_event()) is not None:
            match event:
                case events.Content():
                    self.content += event.data
                case events.ContentLost() | events.Reset():
                    self.lost += isinstance(event, events.ContentLost)
                    self.content = b""
                case events.Pause():
                    self.slept += event.seconds
                    self.machine.resume()
                case events.Hangup():
                    self.ended = True
                case _ if self.answers:
                    self.machine.refuse(self.answers.pop(0), "policy")
                case events.EndOfContent():
                    self.machine.accept("QID")
                case events.Auth(initial=None):
                    self.machine.challenge(b"")
                case events.Auth() | events.AuthResponse():
                    self.machine.accept("alice")
                case events.AuthAbandoned():
                    pass
                case events.StartTls():
                    self.machine.accept()
                    self.machine.secure()
                case events.Data():
                    self.content = b""
                    self.machine.accept()
                case _:
                    self.machine.accept()
        self.said += self.machine.take_output().decode().split("\r\n")[:-1]

    def send(self, data: bytes) -> None:
        self.machine.receive(data)
        self.collect()


def unescape(text: str) -> bytes:
    return text.encode("utf-8").decode("unicode_escape").encode("latin-1")


def read_settings(lines: list[str]) -> Settings:
    settings = Settings(myhostname="mx.example", mail_name="Tubepost")
    kinds = {field.name: type(getattr(settings, field.name)) for field in dataclasses.fields(settings)}
    for line in lines:
        if line.startswith("=: ") and not line.startswith("=: reject_footer"):
            name, _, value = line[3:].partition(" ")
            kind = kinds[name]
            setattr(settings, name, value == "yes" if kind is bool else kind(value))
    return settings


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    player = Player(read_settings(lines))
    for line in lines:
        if line.startswith("=: reject_footer "):
            footer = line.removeprefix("=: reject_footer ")
            player.machine.footer = lambda _reply, footer=footer: ("", [footer])
    for line in lines:
        if line.startswith("TLS: "):
            player.machine.tls_offered = True
            player.machine.tls_required = line == "TLS: required"
        elif line.startswith("AUTH: "):
            player.machine.auth_active = True
            player.machine.mechanisms = tuple(line.split()[1:])
    player.start()
    for number, line in enumerate(lines, 1):
        where = f"{path.name}:{number}"
        kind, _, text = line.partition(": ")
        if kind == "C":
            player.send(text.encode("utf-8") + b"\r\n")
        elif line == "C:":
            player.send(b"\r\n")
        elif kind == "X":
            player.send(unescape(text))
        elif kind == "B":
            count, _, what = text.partition(" ")
            player.send(unescape(what) * int(count))
        elif kind == "S":
            assert player.said, f"{where}: nothing was said"
            said = player.said.pop(0)
            assert said.startswith(text), f"{where}: {said!r}"
        elif kind == "!":
            player.answers.append(text)
        elif kind == "$":
            assert player.content == unescape(text), where
        elif kind == "LOG":
            assert any(text in logged for _, logged in player.machine.logs), f"{where}: {player.machine.logs}"
        elif line == "END":
            assert player.ended, where
            assert player.machine.state is State.CLOSED, where
        elif line and not line.startswith(("#", "=: ", "TLS: ", "AUTH: ")):
            raise AssertionError(f"{where}: what is this? {line!r}")
    assert player.said == [], "the server said more"


def test_there_are_transcripts() -> None:
    assert len(TRANSCRIPTS) >= 15
