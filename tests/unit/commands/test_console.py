"""What all commands of the queue begin with."""

import os
from pathlib import Path

import pytest

from tubepost.common.system import log
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


def _log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands log while the log program does not run."""
    made = write_instance(str(tmp_path / "instance"), cost=Cost(memory=8, time=1, iterations=4096))
    monkeypatch.setenv("MAIL_CONFIG", made.config_directory)
    directory = tmp_path / "instance" / "log"
    with open(f"{made.config_directory}/main.cf", "a") as file:
        file.write(f"maillog_file_prefixes = {tmp_path}\nmaillog_file = {directory}/mail.log\n")
    return directory / "mail.log"


def _say(text: str) -> None:
    console = Console("postsuper")
    console.open(chdir=False)
    console.report("info", text)
    log.setup("tubepost")


@pytest.mark.skipif(os.geteuid() != 0, reason="without root there are no other accounts")
def test_a_log_file_that_is_a_link_of_the_log_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _log(tmp_path, monkeypatch)
    elsewhere = tmp_path / "passwd"
    elsewhere.touch()
    path.symlink_to(elsewhere)
    os.chown(path, 4711, 4711, follow_symlinks=False)
    _say("one")
    assert elsewhere.read_text() == ""
    # Root's own may lead to another disk.
    os.chown(path, 0, 0, follow_symlinks=False)
    _say("two")
    assert "two" in elsewhere.read_text()


def test_a_log_file_that_is_a_pipe_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(_log(tmp_path, monkeypatch))
    _say("one")
