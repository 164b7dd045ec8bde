"""For all tests of the mailbox store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tubepost.common.mailbox.maildir.account import MaildirAccount


@pytest.fixture
def account(tmp_path: Path) -> Iterator[MaildirAccount]:
    made = MaildirAccount(str(tmp_path / "mail"))
    yield made
    made.close()
