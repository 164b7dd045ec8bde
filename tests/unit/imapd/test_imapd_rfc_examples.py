"""The examples that stand in the RFCs, one file of tests/transcripts/rfc an RFC, played against imapd."""

from pathlib import Path

import pytest

from tests.fakes.examples import FOLDER, Scene, play_scene, read_scenes

SCENES = [scene for path in sorted(FOLDER.glob("*.imap")) for scene in read_scenes(path)]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.where.replace(" ", "-"))
def test_example(tmp_path: Path, scene: Scene) -> None:
    play_scene(tmp_path, scene)


def test_there_are_examples() -> None:
    assert len(SCENES) >= 30
