"""``tubepost services --privileges``: which processes are compared with what."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tubepost.common.config import Config, master_cf

from tubepost.commands import privileges


def _look(monkeypatch: pytest.MonkeyPatch, early: int) -> list[privileges.Process]:
    """One process, that is as it was forked the first ``early`` times."""
    looks = iter(range(1000))
    service = {"service": "smtp", "type": "inet", "program": "smtpd", "pids": [7]}
    monkeypatch.setattr(privileges, "ask_master", lambda _: {"pid": 1, "services": [service]})
    monkeypatch.setattr(privileges, "read_status", lambda _: {})
    monkeypatch.setattr(privileges, "wanted_of", lambda *_: {"uid": "33"})
    monkeypatch.setattr(privileges, "found_of", lambda *_: {"uid": "0" if next(looks) < early else "33"})
    monkeypatch.setattr(privileges, "_YOUTH", 0.0)
    (found,) = privileges.processes(cast(Config, SimpleNamespace()), []).values()
    return found


def test_one_that_is_just_born_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    (process,) = _look(monkeypatch, 2)
    assert not process.differs


def test_one_that_keeps_other_privileges_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    (process,) = _look(monkeypatch, 1000)
    assert process.differs == ["uid"]


def test_two_services_of_one_name_are_two(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "master.cf"
    path.write_text("lmtp inet n n n - - lmtpd\nlmtp unix - y n - - lmtp\n")
    entries, faults = master_cf.read(str(path))
    assert not faults
    services = [
        {"service": entry.service, "type": entry.type, "program": entry.command, "pids": [number]}
        for number, entry in enumerate(entries)
    ]
    monkeypatch.setattr(privileges, "ask_master", lambda _: {"pid": 1, "services": services})
    monkeypatch.setattr(privileges, "read_status", lambda _: {})
    monkeypatch.setattr(privileges, "found_of", lambda *_: {})
    monkeypatch.setattr(privileges, "wanted_of", lambda _, unprivileged, *others: {"unprivileged": str(unprivileged)})
    monkeypatch.setattr(privileges, "_LOOKS", 1)
    config = SimpleNamespace(with_overrides=lambda _: None)
    found = privileges.processes(cast(Config, config), entries)
    assert {name: some[0].wanted["unprivileged"] for name, some in found.items()} == {"lmtpd": "False", "lmtp": "True"}
