"""Whose things are in a new instance: four accounts where root finds them, one otherwise."""

import os
import pwd
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tubepost.common.accounts.hashing import Cost
from tubepost.common.config import instance, load
from tubepost.common.config.owners import bus_group, is_apart

CHEAP = Cost(memory=64, time=1, iterations=4096)
# Of any system; by number, so that none of ours need be there.
KNOWN = {"tubepost": 925, "tubepost-net": 926, "tubepost-mail": 927, "tubepost-auth": 928, "nobody": 65534}


def system(monkeypatch: pytest.MonkeyPatch, *names: str, uid: int = 0) -> None:
    real = pwd.getpwnam

    def find(name: str) -> Any:
        if name in names:
            return SimpleNamespace(pw_name=name, pw_uid=KNOWN[name], pw_gid=KNOWN[name])
        if name in KNOWN:
            raise KeyError(name)
        return real(name)

    monkeypatch.setattr(pwd, "getpwnam", find)
    monkeypatch.setattr(os, "geteuid", lambda: uid)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("tubepost", "tubepost-net", "tubepost-mail", "tubepost-auth", "nobody"), [925, 926, 927, 928]),
        (("tubepost", "tubepost-auth", "nobody"), [925, 925, 925, 928]),
        (("tubepost", "nobody"), [925] * 4),
        (("tubepost-net", "nobody"), [65534] * 4),
        ((), [0] * 4),
    ],
)
def test_accounts_are_used_where_they_are(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], found: list[int]
) -> None:
    system(monkeypatch, *names)
    assert [uid for _, uid, _ in instance.accounts_of_system()] == found


def test_without_root_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    system(monkeypatch, *KNOWN, uid=4711)
    assert [uid for _, uid, _ in instance.accounts_of_system()] == [4711] * 4


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives things away")
def test_an_instance_of_four_accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system(monkeypatch, *KNOWN)
    made = instance.write_instance(str(tmp_path / "i"), cost=CHEAP)
    config = load(made.config_directory)
    assert (config.mail_owner, config.protocol_owner, config.auth_owner) == (
        "tubepost",
        "tubepost-net",
        "tubepost-auth",
    )
    assert config.virtual_uid_maps == ("static:927",) and config.virtual_gid_maps == ("static:927",)
    assert config.default_privs == "nobody", "not who faces the network"
    assert is_apart(config) and bus_group(config) == 926
    owners = {name: os.stat(tmp_path / "i" / name).st_uid for name in ("data", "auth", "mail", "log", "conf", "spool")}
    assert owners == {"data": 925, "auth": 928, "mail": 927, "log": 925, "conf": 0, "spool": 0}
    assert {os.stat(tmp_path / "i" / "auth" / "passwords.db").st_uid} == {928}
    # What was there before there were accounts stays as it is.
    before = (tmp_path / "i" / "conf" / "main.cf").read_text()
    system(monkeypatch, "tubepost", "nobody")
    instance.write_instance(str(tmp_path / "i"), cost=CHEAP)
    assert (tmp_path / "i" / "conf" / "main.cf").read_text() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives things away")
def test_an_instance_of_one_account_names_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system(monkeypatch, "tubepost", "nobody")
    made = instance.write_instance(str(tmp_path / "i"), cost=CHEAP)
    config = load(made.config_directory)
    assert config.protocol_owner == config.auth_owner == config.mail_owner == "tubepost"
    assert not is_apart(config) and bus_group(config) is None
    assert config.virtual_uid_maps == ("static:925",) and config.default_privs == "tubepost"
