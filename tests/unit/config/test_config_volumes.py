"""An instance on volumes that are there before it (containers): empty directories of root become the owner's."""

import os
from pathlib import Path

import pytest

from tubepost.common.config.instance import write_instance


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories to others")
def test_an_empty_volume_is_given_to_the_owner_and_a_used_one_is_left(tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir(mode=0o755)
    (tmp_path / "data").mkdir(mode=0o755)
    (tmp_path / "data" / "kept").write_text("x")
    write_instance(str(tmp_path))
    assert (tmp_path / "mail").stat().st_uid != 0
    assert (tmp_path / "data").stat().st_uid == 0
