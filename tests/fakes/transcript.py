"""Plays a transcript against the machine of a server: ``C:`` the client says, ``S:`` the reply's line is this.

``X:`` sends the text without a line end, with \\r \\n \\xNN escapes; ``B:`` repeats: ``B: 5000 x``. ``=: name value``
sets a setting. ``!: text`` is the answer to what the machine asks next. ``END`` asserts that the session is over.
``...`` at the end of an ``S:`` line stands for anything. ``#`` is a comment. A player may know further marks.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class Player:
    """What a machine is driven by; ``react`` answers its events."""

    def __init__(self, machine: Any) -> None:
        self.machine = machine
        self.answers: list[str] = []
        self.said: list[str] = []
        self.ended = False
        machine.greet()
        self.collect()

    def feed(self, data: bytes, whole: bool) -> None:
        for piece in [data] if whole else [data[place : place + 1] for place in range(len(data))]:
            self.machine.receive(piece)
            while (event := self.machine.next_event()) is not None:
                self.react(event)
        self.collect()

    def react(self, event: Any) -> None:
        raise NotImplementedError

    @property
    def marks(self) -> Mapping[str, Callable[[str], None]]:
        """Further marks: called with the text; they assert."""
        return {}

    def collect(self) -> None:
        self.said += self.machine.take_output().decode().split("\r\n")[:-1]


def play(path: Path, settings: Any, make: Callable[[Any, dict[str, str]], Player], *, whole: bool) -> None:
    """``make``: a player, of the settings (a dataclass) and the attributes (``@: name value``) that come first."""
    attributes: dict[str, str] = {}
    player: Player | None = None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        kind, _, text = line.partition(": ") if ": " in line else (line.rstrip(":"), "", "")
        where = f"{path.name}:{number}"
        if not line or line.startswith("#"):
            continue
        name, _, value = text.partition(" ")
        if kind == "=":
            settings = dataclasses.replace(settings, **{name: int(value) if value.isdigit() else value})
            continue
        if kind == "@":
            attributes[name] = value
            continue
        if player is None:
            player = make(settings, attributes)
        if kind == "!":
            player.answers.append(text)
        elif kind == "C":
            player.feed(text.encode() + b"\r\n", whole)
        elif kind == "X":
            player.feed(unescape(text), whole)
        elif kind == "B":
            player.feed(unescape(value) * int(name), True)
        elif kind == "S":
            assert player.said, f"{where}: nothing more was said"
            got = player.said.pop(0)
            assert got.startswith(text[:-3]) if text.endswith("...") else got == text, f"{where}: got {got!r}"
        elif kind == "END":
            assert player.ended and player.machine.state.name == "CLOSED", where
        else:
            assert kind in player.marks, f"{where}: what is {kind}?"
            player.marks[kind](text)
    assert player is not None and not player.said, f"{path.name}: not expected: {player and player.said}"


def unescape(text: str) -> bytes:
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")
