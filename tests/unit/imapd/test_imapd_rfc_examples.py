"""The examples that stand in the RFCs, one file of tests/transcripts/rfc an RFC, played against imapd."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.examples import FOLDER, Scene, play_scene, read_scenes

SCENES = [scene for path in sorted(FOLDER.glob("*.imap")) for scene in read_scenes(path)]
# Nothing here is about disks, and each scene has mailboxes of its own.
_MEMORY = "/dev/shm"


@pytest.fixture
def directory() -> Iterator[str]:
    with tempfile.TemporaryDirectory(dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None) as found:
        yield found


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.where.replace(" ", "-"))
def test_example(directory: str, scene: Scene) -> None:
    play_scene(directory, scene)


def test_there_are_examples() -> None:
    assert len(SCENES) >= 150


@pytest.mark.parametrize(
    "wrong",
    [
        "S: a OK [READ-ONLY] Done",
        "S: a NO Done",
        "S: * 7 EXISTS\nS*\nS: a OK Done",
        "S: * OK [UIDVALIDITY <n>]\nS: a OK Done",
        "S*\nS: a OK Done\nC: b SELECT INBOX\nS*\nS: c OK",
    ],
)
def test_the_player_sees_what_is_wrong(directory: str, tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "wrong.imap"
    path.write_text(f"== scene\nC: a SELECT INBOX\n{wrong}\n")
    (scene,) = read_scenes(path)
    with pytest.raises(AssertionError):
        play_scene(directory, scene)
