"""What all commands of the queue begin with."""

import os
from pathlib import Path

import pytest

from tubepost.common.accounts.hashing import Cost
from tubepost.common.config.instance import write_instance

from tubepost.commands.console import Console


def test_a_working_directory_that_was_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A daemon's, say, that posts mail with sendmail.
    made = write_instance(str(tmp_path / "instance"), cost=Cost(memory=8, time=1, iterations=4096))
    monkeypatch.setenv("MAIL_CONFIG", made.config_directory)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    config = Console("sendmail").open()
    assert os.path.samefile(os.getcwd(), config.queue_directory)
