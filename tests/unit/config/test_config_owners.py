"""The passwords follow auth_owner, and nothing else does."""

import os
from pathlib import Path

import pytest

from tubepost.common.config.owners import hand_over

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

OLD, NEW = (4711, 4711), (4712, 4712)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "auth"
    made.mkdir(mode=0o700)
    for name in ("passwords.db", "secret"):
        (made / name).write_text(name)
        os.chown(made / name, *OLD)
    os.chown(made, *OLD)
    return made


def _owners(folder: Path) -> dict[str, int]:
    return {path.name: path.lstat().st_uid for path in (folder, *folder.iterdir())}


def test_all_that_auth_has(folder: Path) -> None:
    hand_over(str(folder), NEW)
    assert _owners(folder) == dict.fromkeys(("auth", "passwords.db", "secret"), NEW[0])
    hand_over(str(folder), OLD)
    assert _owners(folder) == dict.fromkeys(("auth", "passwords.db", "secret"), OLD[0])


def test_others_files_stay_theirs(folder: Path, tmp_path: Path) -> None:
    for kind in (os.link, os.symlink):
        target = tmp_path / kind.__name__
        target.write_text("root's")
        (folder / "secret").unlink()
        kind(target, folder / "secret")
        os.chown(folder, *OLD)
        hand_over(str(folder), NEW)
        assert target.stat().st_uid == 0
        assert _owners(folder) == {"auth": NEW[0], "passwords.db": NEW[0], "secret": 0}
        os.chown(folder / "passwords.db", *OLD)
    # A pipe is not waited for.
    (folder / "secret").unlink()
    os.mkfifo(folder / "secret")
    os.chown(folder, *OLD)
    hand_over(str(folder), NEW)
    assert _owners(folder)["secret"] == 0


def test_a_directory_named_by_mistake_stays(folder: Path) -> None:
    (folder / "mail").write_text("")
    hand_over(str(folder), NEW)
    (folder / "mail").unlink()
    folder.chmod(0o755)
    hand_over(str(folder), NEW)
    assert _owners(folder) == dict.fromkeys(("auth", "passwords.db", "secret"), OLD[0])
