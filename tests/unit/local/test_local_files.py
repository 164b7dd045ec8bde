"""Forward and :include: files that may be used, and alias tables' owners."""

import asyncio
import os
import pwd
import tempfile
from pathlib import Path

import pytest

from tubepost.common.tables import TableEnvironment

from tubepost.services.local import files
from tubepost.services.local.expansion import ListFile, Trouble
from tubepost.services.local.protocol import NOBODY, Rights
from tubepost.services.local.tables import AliasTables, account, account_by_id, without_proxy

ME = Rights(os.geteuid(), os.getegid(), "me", "/", "/bin/sh")


def test_forward_files(tmp_path: Path) -> None:
    path = tmp_path / ".forward"
    assert files.forward_file(str(path), ME, 0) is None
    assert files.forward_file(str(path / "below"), ME, 0) is None
    path.write_text("bob\n")
    assert files.forward_file(str(path), ME, 0) == (b"bob\n", os.geteuid(), "")
    os.chmod(path, 0o646)
    assert "world writable" in _fault(files.forward_file(str(path), ME, 0))
    os.chmod(path, 0o600)
    assert "message_size_limit" in _fault(files.forward_file(str(path), ME, 3))
    (tmp_path / "link").symlink_to(path)
    assert "not a regular file" in _fault(files.forward_file(str(tmp_path / "link"), ME, 0))
    os.mkfifo(tmp_path / "fifo")
    assert "not a regular file" in _fault(files.forward_file(str(tmp_path / "fifo"), ME, 0))


def _fault(found: ListFile | None) -> str:
    assert found is not None
    assert found.data == b""
    return found.fault


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_as_root_files_are_read_with_the_rights_of_the_user() -> None:
    nobody = pwd.getpwnam("nobody")
    user = Rights(nobody.pw_uid, nobody.pw_gid, "nobody", "/", "")
    with tempfile.TemporaryDirectory(prefix="tp-") as name:
        folder = Path(name)
        os.chmod(folder, 0o711)
        path = folder / "secret"
        path.write_text("root's\n")
        os.chmod(path, 0o600)
        assert "Permission denied" in files.include_file(str(path), user, 0).fault
        os.chown(path, 1, 1)
        found = files.forward_file(str(path), user, 0)
        assert found is not None
        assert "bad owner" in found.fault
        os.chmod(folder, 0o700)
        assert files.forward_file(str(path), user, 0) is None
        assert "Permission denied" in files.home_trouble(Rights(user.uid, user.gid, "x", f"{folder}/home", ""))


def test_include_files(tmp_path: Path) -> None:
    path = tmp_path / "list"
    assert "No such file" in files.include_file(str(path), ME, 0).fault
    assert "not a regular file" in files.include_file(str(tmp_path), ME, 0).fault
    path.write_text("bob\n")
    assert files.include_file(str(path), ME, 0).data == b"bob\n"
    (tmp_path / "link").symlink_to(path)
    assert files.include_file(str(tmp_path / "link"), ME, 0).data == b"bob\n"
    os.chmod(path, 0o666)
    assert "world writable" in files.include_file(str(path), ME, 0).fault


def test_accounts() -> None:
    root = account("root")
    assert root is not None
    assert (root.uid, root.home) == (0, pwd.getpwuid(0).pw_dir)
    assert account_by_id(0) == root
    assert account("no such user") is None
    assert account("bad\0name") is None
    assert account("bad\ud800name") is None
    assert account_by_id(4_000_000_001) is None


def _find(tmp_path: Path, specs: str, name: str) -> object:
    environment = TableEnvironment(config_directory=str(tmp_path))
    (tmp_path / "main.cf").touch()
    try:
        return asyncio.run(AliasTables(specs.split("; "), environment).find(name))
    finally:
        environment.close()


def test_an_alias_has_the_rights_of_its_table(tmp_path: Path) -> None:
    own = NOBODY if os.geteuid() == 0 else account_by_id(os.geteuid())
    assert _find(tmp_path, "inline:{a=b}", "a") == ("b", own)
    table = tmp_path / "texts"
    table.write_text("a b\n")
    assert _find(tmp_path, f"texthash:{table}", "a") == ("b", own)
    if os.geteuid() == 0:
        daemon = pwd.getpwnam("daemon").pw_uid
        os.chown(table, daemon, 0)
        assert _find(tmp_path, f"texthash:{table}", "a") == ("b", account_by_id(daemon))
        os.chown(table, 4_000_000_001, 0)
        with pytest.raises(Trouble, match="owner of alias database"):
            _find(tmp_path, f"texthash:{table}", "a")


def test_tables_in_order_and_trouble(tmp_path: Path) -> None:
    assert _find(tmp_path, "inline:{a=1}; inline:{a=2, b=3}", "b") is not None
    assert _find(tmp_path, "inline:{a=1}", "b") is None
    with pytest.raises(Trouble, match="alias database unavailable"):
        _find(tmp_path, "fail:x; inline:{a=1}", "a")
    assert without_proxy(["proxy:hash:/x", "hash:/y"]) == ["hash:/x", "hash:/y"]


def test_what_the_address_says_never_becomes_a_command(tmp_path: Path) -> None:
    table = tmp_path / "re"
    table.write_text("/^(.*)-run$/ |$1\n")
    assert _find(tmp_path, f"regexp:{table}", "id-run") is None


def test_a_list_is_judged_by_the_file_that_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    for path in (good, bad):
        path.write_text("bob\n")
    os.chmod(bad, 0o666)
    seen = os.stat(good)
    with monkeypatch.context() as patched:
        # The name stood for another file when it was looked at.
        patched.setattr(os, "stat", lambda path: seen)
        found = files.include_file(str(bad), ME, 0)
    assert "world writable" in found.fault
    assert found.data == b""
