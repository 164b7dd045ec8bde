"""The table of programs: whole, consistent, and what it comes to with a configuration."""

from pathlib import Path

import pytest

from tubepost.common.wire.programs import ALIASES, CALLS, PROGRAMS, USER, callers_of, row_of
from tubepost.common.config import Config, load
from tubepost.common.skeleton import privileges
from tubepost.common.skeleton.privileges import around, is_narrow, is_program
from tubepost.common.skeleton.process import socket_path

from tubepost.master import sockets

QUEUES = {"maildrop", "incoming", "active", "deferred", "hold", "corrupt", "bounce", "defer", "trace", "flush", "saved"}
PROTOCOL = [name for name, row in PROGRAMS.items() if row.account == "protocol"]


def test_the_programs_of_the_tree_are_those_of_the_table() -> None:
    folders = {path.parent.name for path in Path(privileges.__file__).parents[2].glob("services/*/__main__.py")}
    assert folders == set(PROGRAMS) - {USER, "lmtp"}
    assert all(is_program(name) for name in (*folders, *ALIASES)) and not is_program(USER) and not is_program("cron")


def test_who_is_called_is_a_program_and_answers_somebody() -> None:
    assert set(CALLS) <= set(PROGRAMS)
    for name in ("cleanup", "qmgr", "auth", "rewrite"):
        assert callers_of(name) and USER not in callers_of("cleanup")
    assert callers_of("trivial-rewrite") == callers_of("rewrite") and row_of("retry") is row_of("error")


@pytest.mark.parametrize("program", PROTOCOL)
def test_who_faces_strangers_owns_nothing(program: str) -> None:
    row = PROGRAMS[program]
    assert not row.writes and not row.sees and not row.root and not row.programs and not row.anywhere
    assert set(row.reads) <= ({"active"} if row.borrows else set())


def test_passwords_belong_to_auth_and_mail_to_nobody_who_has_the_network() -> None:
    for program, row in PROGRAMS.items():
        assert ("$auth_directory" in row.writes) == (program == "auth")
        assert "$auth_directory" not in row.reads
        if row.network and program not in ("pipe", USER):
            assert not QUEUES & {*row.writes} and (row.borrows or not QUEUES & {*row.reads}), program
    for program in ("imapd", "pop3d", "lmtpd", "indexer", "auth"):
        assert not QUEUES & {*PROGRAMS[program].reads, *PROGRAMS[program].writes}, program


@pytest.mark.parametrize(
    ("program", "apart", "together"),
    [
        ("cleanup", 0o660, 0o600),
        ("rewrite", 0o660, 0o600),
        ("trivial-rewrite", 0o660, 0o600),
        ("bounce", 0o600, 0o600),
        ("indexer", 0o660, 0o600),
        ("auth", 0o666, 0o666),
        ("qmgr", 0o666, 0o666),
        ("lmtpd", 0o666, 0o666),
        ("log", 0o666, 0o666),
    ],
)
def test_sockets_are_open_to_who_may_call(program: str, apart: int, together: int) -> None:
    assert sockets.mode_of(program, sockets.Owner(1, 2, 3)) == apart
    assert sockets.mode_of(program, sockets.Owner(1, 2, None)) == together


def test_the_owner_of_mailboxes_reaches_what_is_public(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where master.cf has it public. As Postfix's has it smtpd reaches it all the same."""
    monkeypatch.chdir(tmp_path)
    assert sockets.mode_of("anvil", sockets.Owner(1, 2, 3), private=False) == 0o666
    assert sockets.mode_of("anvil", sockets.Owner(1, 2, 3), private=True) == 0o660
    assert sockets.mode_of("bounce", sockets.Owner(1, 2, 3), private=False) == 0o600
    for name in ("anvil", "proxymap"):
        assert socket_path(Config(), name) == f"private/{name}"
        (tmp_path / "public").mkdir(exist_ok=True)
        (tmp_path / "public" / name).touch()
        assert socket_path(Config(), name) == f"public/{name}"
    assert sockets.mode_of("proxymap", sockets.Owner(1, 2, 3), private=False) == 0o666
    assert sockets.mode_of("proxymap", sockets.Owner(1, 2, 3), private=True) == 0o660


def test_reading_goes_around_what_is_secret(tmp_path: Path) -> None:
    for name in ("conf", "spool/active", "auth", "lib/python", "lib/mail/alice"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "auth")
    secret = [str(tmp_path / name) for name in ("spool", "auth", "lib/mail")]

    def seen(path: str) -> set[str]:
        return {part.removeprefix(f"{tmp_path}/") for part in around(str(tmp_path / path), secret)}

    assert seen("") == {"conf", "file", "lib/python"}
    assert seen("conf") == {"conf"} and seen("lib") == {"lib/python"}
    # By its own name, from inside, and by a link.
    assert seen("spool") == seen("spool/active") == seen("link") == seen("lib/mail/alice") == set()
    assert seen("spoolother") == {"spoolother"}, "a name that begins alike is another"


def test_what_main_cf_names_is_read_and_nothing_around_it(tmp_path: Path) -> None:
    for name in ("conf", "spool", "data", "tables", "users", "home"):
        (tmp_path / name).mkdir()
    for name in ("data/map", "data/map.db", "data/verify.db", "tables/access", "users/passwd", "conf/main.cf"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "conf" / "main.cf").write_text(
        f"queue_directory = {tmp_path}/spool\ndata_directory = {tmp_path}/data\n"
        f"virtual_mailbox_base = {tmp_path}/mail\n"
        f"transport_maps = hash:{tmp_path}/data/map, proxy:texthash:{tmp_path}/tables/access\n"
        f"auth_backends = passwd-file:{tmp_path}/users/passwd\n"
    )
    config = load(str(tmp_path / "conf"))

    def read(program: str) -> set[str]:
        row = privileges.policy_of(program, config)
        paths = (path for path in privileges._readable(row, False, config) if path.startswith(f"{tmp_path}/"))
        return {path.removeprefix(f"{tmp_path}/") for path in paths}

    assert read("smtpd") == {"conf", "tables", "data/map", "data/map.db"}
    assert read("auth") == {"conf", "tables", "data/map", "data/map.db", "users"}


def test_who_reads_whatever_the_owner_reads_no_keys() -> None:
    narrow = {name for name, row in PROGRAMS.items() if is_narrow(row, True)}
    assert {"pickup", "bounce", "showq", "virtual"} <= narrow
    assert not narrow & {"smtpd", "local", "pipe", "qmgr", "cleanup"}
    assert not is_narrow(PROGRAMS["virtual"], False), "as another account it has no power over others' files"
