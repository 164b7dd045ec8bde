"""``tubepost check``: what would keep the system from starting."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from tubepost.common.accounts.hashing import Cost
from tubepost.common.config.instance import write_instance

from tubepost.commands.tubepost import main


@pytest.mark.skipif(os.geteuid() != 0, reason="without root there are no other accounts")
@pytest.mark.parametrize("parameter", ["mail_owner", "protocol_owner", "auth_owner"])
def test_an_account_that_does_not_exist(tmp_path: Path, parameter: str) -> None:
    made = write_instance(str(tmp_path), cost=Cost(memory=8, time=1, iterations=4096))
    with open(f"{made.config_directory}/main.cf", "a") as file:
        # With an account for each user imapd's is none that is set.
        file.write(f"{parameter} = nosuchaccount\nvirtual_uid_maps = texthash:/dev/null\n")
    result = CliRunner().invoke(main, ["-c", made.config_directory, "check"])
    assert f"{parameter}: there is no account nosuchaccount" in result.output, result
    assert result.exception is None or isinstance(result.exception, SystemExit)
