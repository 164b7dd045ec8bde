"""tubepost mailbox, without a running system."""

import errno
import json
import os
import shutil
import sqlite3
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from tubepost.common.imap.names import encode_utf7

from tubepost.common.wire.base import Refused
from tubepost.common.accounts.hashing import Cost
from tubepost.common.bus import Refusal
from tubepost.common.config.instance import write_instance
from tubepost.common.mailbox.maildir import upkeep
from tubepost.common.mailbox.maildir.account import MaildirAccount

from tubepost.commands.mailbox import places
from tubepost.commands.mailbox.places import System
from tubepost.commands.tubepost import main

ALICE, BOB = "alice@example.test", "bob@example.test"


class Operator:
    def __init__(self, root: Path) -> None:
        made = write_instance(str(root), cost=Cost(memory=8, time=1, iterations=4096))
        self.conf = made.config_directory
        self.mail = Path(made.mail_directory) / "example.test"

    def __call__(self, *words: str, stdin: str = "", status: int = 0) -> str:
        result: Result = CliRunner().invoke(main, ["-c", self.conf, "mailbox", *words], input=stdin)
        assert result.exit_code == status, result.output
        return result.output

    def json(self, *words: str) -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(self(*words, "--json"))
        return found

    def deliver(self, user: str, name: str, content: str) -> Path:
        folder = self.mail / user / "new"
        if not folder.exists():
            self("create", f"{user}@example.test", "Made")
        path = folder / name
        path.write_bytes(content.encode())
        owner = folder.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
        return path

    def folders(self, account: str) -> dict[object, object]:
        return {facts["folder"]: facts["messages"] for facts in self.json("list", account)}


@pytest.fixture
def operator() -> Iterator[Operator]:
    # The owner of the mailboxes is another account where we are root: it must get there.
    root = Path(tempfile.mkdtemp(prefix="tp-"))
    root.chmod(0o755)
    yield Operator(root)
    shutil.rmtree(root)


def without_sequences(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what only grows: no UID and no modification sequence comes again after a restoration."""
    return [
        {name: value for name, value in row.items() if name not in ("modseq", "highestmodseq", "uidnext")}
        for row in rows
    ]


def letter(number: int, subject: str = "", body: str = "hello\n") -> str:
    return (
        f"From: Carol <carol@x.test>\nTo: alice@example.test\nSubject: {subject or f'letter {number}'}\n"
        f"Date: Mon, 1 Jan 2024 10:00:0{number % 10} +0000\nMessage-ID: <{number}@x.test>\n\n{body}"
    )


def test_folders(operator: Operator) -> None:
    assert operator("list", "*", "--json") == "[]\n"
    assert "no mail yet" in operator("list", ALICE, status=65)
    operator("create", "*@example.test", "Work/Plans", "--special-use", "archive")
    assert operator.folders(ALICE) == {"INBOX": 0, "Work/Plans": 0}
    facts = operator.json("list", BOB, "-f", "\\Archive")
    assert [(item["folder"], item["special_use"], item["subscribed"]) for item in facts] == [
        ("Work/Plans", ["\\Archive"], True)
    ]
    assert "already" in operator("create", ALICE, "Work/Plans", status=65)
    assert "already" in operator("create", ALICE, "Other", "--special-use", "\\Archive", status=65)
    operator("create", ALICE, "x", "--special-use", "\\Nonsense", status=65)
    operator("create", ALICE, "a//b", status=65)
    operator("rename", ALICE, "Work/Plans", "Pläne")
    assert operator.folders(ALICE) == {"INBOX": 0, "Pläne": 0}
    assert [item["folder"] for item in operator.json("status", ALICE, "-f", "Pl*")] == ["Pläne"]
    assert operator.json("status", ALICE, "-f", "Pl*")[0]["subscribed"] is True
    operator("rename", ALICE, "Nope", "x", status=65)
    # One of the two has it no more: only some failed.
    assert "bob@example.test: Work/Plans deleted" in operator("delete", "*", "Work/Plans", status=1)
    assert "INBOX cannot" in operator("delete", ALICE, "inbox", "--yes", status=65)
    operator("list", "nobody@example.test", status=67)
    operator("list", "*@elsewhere.test", status=67)
    operator("list", status=2)


def test_delete_asks_where_there_is_mail(operator: Operator) -> None:
    operator.deliver("alice", "1.a.h", letter(1))
    operator("move", ALICE, "Old", "-f", "INBOX", "all")
    operator("create", ALICE, "Old/Below")
    assert "use --yes" in operator("delete", ALICE, "Old", status=65)
    operator("delete", ALICE, "Old", "--yes", "--recursive")
    assert operator.folders(ALICE) == {"INBOX": 0, "Made": 0}


def test_search_and_fetch(operator: Operator) -> None:
    operator.deliver("alice", "1.a.h", letter(1, "=?utf-8?q?Gr=C3=BC=C3=9Fe?="))
    operator.deliver("alice", "2.a.h", letter(2, "two\x1b[31m", "会议 at nine\n"))
    operator.deliver("bob", "3.a.h", letter(3, body="会议\n"))
    assert operator("search", "*", "text", "会议") == f"{ALICE}\tINBOX\t2\n{BOB}\tINBOX\t1\n"
    assert operator("search", ALICE, "text 会议 from carol") == f"{ALICE}\tINBOX\t2\n"
    assert operator.json("search", ALICE, 'or (subject "Grüße") (uid 7:*)') == [
        {"account": ALICE, "folder": "INBOX", "uids": [1, 2]}
    ]
    assert operator("search", ALICE, "subject", "no such words") == ""
    assert "Unknown search key" in operator("search", ALICE, "nonsense", status=65)
    table = operator("fetch", ALICE, "all")
    assert "Grüße" in table
    assert "\x1b" not in table
    (facts,) = operator.json("fetch", ALICE, "uid", "1", "--headers")
    assert facts["from"] == "Carol <carol@x.test>"
    assert ["message-id", "<1@x.test>"] in facts["headers"]  # type: ignore[operator]
    assert operator("fetch", ALICE, "uid", "2", "--message") == letter(2, "two\x1b[31m", "会议 at nine\n")
    assert operator("fetch", ALICE, "uid", "2", "--headers").endswith("<2@x.test>\n\n")
    assert operator("fetch", ALICE, "uid", "2", "--part", "1") == "会议 at nine\n"
    assert operator("fetch", ALICE, "uid", "2", "--part", "1.1", status=65)
    assert operator("fetch", ALICE, "uid", "2", "--part", "x", status=65)


def test_parts(operator: Operator) -> None:
    operator.deliver(
        "alice",
        "1.a.h",
        "Message-ID: <1@x>\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nfirst\n--b\nContent-Type: text/plain;"
        " charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\nContent-Disposition: attachment; "
        "filename=a.txt\n\nGr=FC=DFe\n--b\nContent-Type: application/octet-stream\n"
        "Content-Transfer-Encoding: base64\n\nAAEC/w==\n--b--\n",
    )
    shown = operator("fetch", ALICE, "all", "--structure")
    assert "2     text/plain                quoted-printable" in shown
    assert "a.txt" in shown
    (second,) = operator.json("fetch", ALICE, "all", "--part", "2")
    assert (second["content"], second["filename"]) == ("Grüße", "a.txt")
    (third,) = operator.json("fetch", ALICE, "all", "--part", "3")
    assert third["base64"] == "AAEC/w=="


def test_copy_move_expunge(operator: Operator) -> None:
    for number in range(5):
        operator.deliver("alice", f"{number}.a.h", letter(number))
    assert "2 messages of INBOX would be copied" in operator(
        "copy", ALICE, "Kept", "-f", "INBOX", "uid", "1:2", "--dry-run"
    )
    assert "Kept" not in operator.folders(ALICE)
    operator("copy", ALICE, "Kept", "-f", "INBOX", "uid", "1:2")
    operator("move", ALICE, "Old", "-f", "INBOX", "uid", "3")
    assert operator.folders(ALICE) == {"INBOX": 4, "Kept": 2, "Made": 0, "Old": 1}
    # A glob that has the target in it moves nothing in a circle.
    operator("move", ALICE, "Kept", "-f", "*", "all")
    assert operator.folders(ALICE) == {"INBOX": 0, "Kept": 7, "Made": 0, "Old": 0}
    operator("move", ALICE, "From Alice", "-f", "Kept", "uid", "1:3", "--to", BOB)
    assert operator.folders(BOB)["From Alice"] == 3
    assert "would be removed" in operator("expunge", ALICE, "-f", "Kept", "all", "--dry-run")
    assert operator.folders(ALICE)["Kept"] == 4
    operator("expunge", ALICE, "-f", "Kept", "subject", "letter 4")
    assert operator.folders(ALICE)["Kept"] == 3
    operator("move", ALICE, "INBOX", "-f", "Kept", "all")
    assert "use --yes" in operator("expunge", ALICE, "-f", "INBOX", "all", status=65)
    operator("expunge", ALICE, "-f", "INBOX", "all", "--yes")
    assert operator.folders(ALICE)["INBOX"] == 0
    operator("expunge", ALICE, "all", status=2)
    operator("expunge", ALICE, "-f", "Nope", "all", status=65)


@pytest.mark.parametrize("kind", ["mbox", "maildir"])
def test_export_and_import_again(operator: Operator, tmp_path: Path, kind: str) -> None:
    for number in range(4):
        operator.deliver("alice", f"{number}.a.h", letter(number, body="From here\n>From there\n\nFrom X\n"))
    operator("move", ALICE, "Work/.Plans %", "-f", "INBOX", "uid", "1:2")
    target = str(tmp_path / "out")
    assert "4 messages" in operator("export", ALICE, target, "--format", kind)
    assert "exists already" in operator("export", ALICE, target, "--format", kind, status=65)
    assert "would be made" in operator("import", BOB, target, "--dry-run")
    operator("import", BOB, target)
    assert operator.folders(BOB) == {"INBOX": 2, "Made": 0, "Work/.Plans %": 2}
    for folder in ("INBOX", "Work/.Plans %"):
        ours, theirs = (operator("fetch", who, "-f", folder, "all", "--message") for who in (ALICE, BOB))
        assert ours == theirs
    assert all(facts["subscribed"] for facts in operator.json("list", BOB, "-f", "Work/*"))
    again = operator("import", BOB, target)
    assert again.count("0 messages brought") == 3
    operator("import", BOB, target, "--into", "Below", "-f", "Work/*")
    operator("import", BOB, target, "--map", "INBOX=Other", "-f", "INBOX", "--no-subscribe")
    assert operator.folders(BOB)["Below/Work/.Plans %"] == 2
    assert operator.folders(BOB)["Other"] == 2
    assert "no folder" in operator("import", BOB, target, "-f", "Nope", status=65)


def test_export_to_zip(operator: Operator, tmp_path: Path) -> None:
    operator.deliver("alice", "1.a.h", letter(1))
    operator.deliver("bob", "2.a.h", letter(2))
    operator("export", "*", str(tmp_path / "all"), "--format", "zip")
    with zipfile.ZipFile(tmp_path / "all" / f"{ALICE}.zip") as archive:
        assert archive.read("INBOX/1.eml") == letter(1).replace("\n", "\r\n").encode()
        (facts,) = json.loads(archive.read("messages.json"))
        assert (facts["file"], facts["folder"], facts["flags"]) == ("INBOX/1.eml", "INBOX", [])
        assert "Made/" in archive.namelist()
    operator("export", ALICE, str(tmp_path / "some.zip"), "subject", "nothing")
    with zipfile.ZipFile(tmp_path / "some.zip") as archive:
        assert json.loads(archive.read("messages.json")) == []


def test_import_refuses(operator: Operator, tmp_path: Path) -> None:
    assert "no such file" in operator("import", ALICE, str(tmp_path / "nothing"), status=65)
    assert "in the address" in operator("import", ALICE, "imaps://a:secret@host.test", status=65)
    assert "refused" in operator("import", ALICE, "imap://a@127.0.0.1:1", "--stdin", status=69)
    assert "who is to log in" in operator("import", ALICE, "imaps://host.test", status=65)
    operator("import", "*", str(tmp_path), status=65)


def test_check_repairs(operator: Operator) -> None:
    for number in range(3):
        operator.deliver("alice", f"{number}.a.h", letter(number))
    operator("list", ALICE)
    database = operator.mail / "alice" / "tubepost.db"
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE folder SET messages=17, unseen=9, uidnext=1 WHERE name='INBOX'")
        connection.execute("INSERT INTO content (emailid) VALUES ('Mx')")
        connection.execute("INSERT INTO keyword (folder, name) VALUES (99, 'x')")
    connection.close()
    found = operator("check", ALICE, "--dry-run", status=1)
    for words in ("messages 17 is 3", "next UID 1 is 4", "1 entries of messages", "1 keywords of folders"):
        assert words in found
    assert "(repaired)" not in found
    found = operator("check", ALICE)
    assert found.count("(repaired)") == 3
    assert operator("check", ALICE) == f"{ALICE}: nothing is wrong\n"
    assert operator.folders(ALICE)["INBOX"] == 3


def test_check_of_a_corrupt_index(operator: Operator) -> None:
    for number in range(3):
        operator.deliver("alice", f"{number}.a.h", letter(number))
    operator("list", ALICE)
    database = operator.mail / "alice" / "tubepost.db"
    size = database.stat().st_size
    data = bytearray(database.read_bytes())
    data[8192 : size // 2] = b"\x55" * (size // 2 - 8192)
    database.write_bytes(data)
    found = operator("check", ALICE)
    assert "built anew from the files (repaired)" in found
    assert list((operator.mail / "alice").glob("tubepost.db.corrupt.*"))
    assert operator.folders(ALICE)["INBOX"] == 3
    assert operator("check", ALICE) == f"{ALICE}: nothing is wrong\n"


def test_backup_and_restore(operator: Operator, tmp_path: Path) -> None:
    for number in range(4):
        operator.deliver("alice", f"{number}.a.h", letter(number))
    operator("move", ALICE, "Work", "-f", "INBOX", "uid", "1")
    target = str(tmp_path / "backup")
    (first,) = operator.json("backup", ALICE, target, "--copy")
    assert (first["messages"], first["fresh"], first["gone"]) == (4, 4, 0)
    before = operator.json("fetch", ALICE, "all")
    (second,) = operator.json("backup", ALICE, target, "--copy")
    assert (second["messages"], second["fresh"], second["gone"]) == (4, 0, 0)
    found = (operator.mail / "alice").stat()
    owner = (found.st_uid, found.st_gid) if os.geteuid() == 0 else None
    with_flags = MaildirAccount(str(operator.mail / "alice"), owner)
    folder = with_flags.folder("INBOX")
    folder.store([2], "+", ["\\Seen", "Later"])
    while folder.flush():
        pass
    with_flags.close()
    operator("expunge", ALICE, "-f", "Work", "all")
    operator("delete", ALICE, "Work")
    operator.deliver("alice", "9.a.h", letter(9))
    (third,) = operator.json("backup", ALICE, target)
    assert (third["messages"], third["fresh"], third["gone"]) == (4, 1, 1)
    now = operator.json("fetch", ALICE, "all")
    status = operator.json("status", ALICE)
    (operator.mail / "alice").rename(tmp_path / "lost")
    (tmp_path / "backup" / ALICE).rename(operator.mail / "alice")
    # As it was, but for the sequences that say that clients have to look anew.
    assert without_sequences(operator.json("fetch", ALICE, "all")) == without_sequences(now)
    assert without_sequences(operator.json("status", ALICE)) == without_sequences(status)
    assert operator("check", ALICE) == f"{ALICE}: nothing is wrong\n"
    assert before != now


def test_reindex(operator: Operator) -> None:
    operator.deliver("alice", "1.a.h", letter(1, body="marmalade\n"))
    assert "1 messages indexed" in operator("reindex", "*")
    assert operator("search", ALICE, "body", "marmalade") == f"{ALICE}\tINBOX\t1\n"
    operator("reindex", ALICE, "-f", "Nope", status=65)


def test_a_maildir_by_its_path(operator: Operator) -> None:
    operator.deliver("alice", "1.a.h", letter(1))
    path = str(operator.mail / "alice")
    assert operator("search", path, "all") == f"{path}\tINBOX\t1\n"
    operator("search", str(operator.mail), "all", status=67)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read what belongs to others")
def test_what_a_source_points_at_and_is_not_its_owners_is_not_brought(operator: Operator, tmp_path: Path) -> None:
    mallory, victim = tmp_path / "mallory", tmp_path / "victim"
    for root in (mallory, victim):
        for place in ("cur", "new", "tmp"):
            (root / place).mkdir(parents=True)
    (mallory / "cur" / "1").write_text(letter(1))
    (victim / "cur" / "2").write_text(letter(2, "a secret"))
    (victim / "mbox").write_text("From x Mon Jan  1 10:00:00 2024\n" + letter(3, "another secret"))
    (mallory / ".Links").symlink_to(victim)
    (mallory / "boxes").mkdir()
    (mallory / "boxes" / "links.mbox").symlink_to(victim / "mbox")
    (mallory / "one").symlink_to(victim / "mbox")
    for uid, root in ((4711, mallory), (4712, victim)):
        for path in (root, *root.rglob("*")):
            os.chown(path, uid, uid, follow_symlinks=False)
    operator("import", ALICE, str(mallory))
    operator("import", BOB, str(mallory / "boxes"), status=69)
    operator("import", BOB, str(mallory / "one"), status=69)
    assert [row["subject"] for row in operator.json("fetch", ALICE, "all")] == ["letter 1"]
    assert operator.json("fetch", BOB, "all") == []
    # Root's own link is meant so.
    os.chown(mallory / "one", 0, 0, follow_symlinks=False)
    operator("import", BOB, str(mallory / "one"))
    assert [row["subject"] for row in operator.json("fetch", BOB, "all")] == ["another secret"]


def test_a_pipe_is_no_mbox_and_nobody_waits_at_it(operator: Operator, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mbox")
    assert "no file" in operator("import", ALICE, str(tmp_path / "pipe.mbox"), status=69)


def test_names_of_files_and_folders_are_not_obeyed(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    # Who may write into his Maildir names files, and folders, as he likes.
    monkeypatch.setattr(upkeep, "UNFINISHED", -1)
    for name in ("1\x1b]0;owned\x07.a", "2\udcff.a"):
        operator.deliver("alice", name, letter(1)).rename(operator.mail / "alice" / "tmp" / name)
    assert len(operator("check", ALICE, "--dry-run", status=1).splitlines()) == 2
    assert len([row for row in operator.json("check", ALICE) if "did not finish" in str(row["text"])]) == 2
    evil = operator.mail / "alice" / ("." + encode_utf7("x\x9b31m\u202ey").decode())
    shutil.copytree(operator.mail / "alice" / ".Made", evil)
    if os.geteuid() == 0:
        owner = (operator.mail / "alice").stat()
        for path in (evil, *evil.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
    operator.deliver("alice", "3\x1b.a", letter(3)).rename(evil / "new" / "3\x1b.a")
    for words in (
        ["list", ALICE],
        ["status", ALICE],
        ["search", ALICE, "all"],
        ["check", ALICE],
        ["copy", ALICE, "Made", "-f", "x*", "all"],
        ["expunge", ALICE, "-f", "x*", "all"],
        ["rename", ALICE, "x\x9b31m\u202ey", "x\u202ez"],
        ["delete", ALICE, "x*"],
    ):
        said = operator(*words)
        assert said.replace("\n", "").replace("\t", "").isprintable(), said


def test_the_reader_of_the_output_has_seen_enough(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    operator.deliver("alice", "1.a.h", letter(1))
    operator.deliver("bob", "2.a.h", letter(2))
    echo = click.echo

    def broken(message: object = None, *, err: bool = False, **others: Any) -> None:
        if not err:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        echo(message, err=err, **others)

    monkeypatch.setattr(click, "echo", broken)
    assert operator("search", "*", "all", status=1) == ""


def test_a_dry_run_makes_no_mailbox(operator: Operator) -> None:
    operator.deliver("alice", "1.a.h", letter(1))
    said = operator("move", ALICE, "Work", "-f", "INBOX", "all", "--to", BOB, "--dry-run")
    assert "1 messages of INBOX would be moved into Work of bob@example.test" in said
    assert not (operator.mail / "bob").exists()


def test_what_was_not_done_is_not_told_as_done(operator: Operator) -> None:
    operator.deliver("alice", "1.a.h", letter(1))
    for others in ([], ["--to", BOB]):
        said = operator("move", ALICE, "a//b", "-f", "INBOX", "all", *others, status=65)
        assert "empty" in said and "moved" not in said


def test_a_refusal_keeps_no_other_account_waiting(operator: Operator) -> None:
    operator.deliver("alice", "1.a.h", letter(1))
    operator.deliver("bob", "2.a.h", letter(2))
    operator.deliver("bob", "3.a.h", letter(3))
    said = operator("expunge", "*", "-f", "INBOX", "uid", "1", status=1)
    assert "use --yes" in said
    assert operator.folders(ALICE)["INBOX"] == 1
    assert operator.folders(BOB)["INBOX"] == 1


def test_a_backup_is_no_mailbox_and_of_one_only(operator: Operator, tmp_path: Path) -> None:
    operator.deliver("alice", "1.a.h", letter(1))
    target = tmp_path / "backup"
    target.mkdir()
    (target / ALICE).symlink_to(operator.mail / "alice")
    before = operator.json("status", ALICE)
    assert "is the mailbox itself" in operator("backup", ALICE, str(target), status=65)
    assert operator.json("status", ALICE) == before
    # Two Maildirs that would have the same name there.
    ones = [tmp_path / "a_b", tmp_path / "a" / "b"]
    for place in ones:
        shutil.copytree(operator.mail / "alice", place)
    said = operator("backup", *map(str, ones), str(target), status=1)
    assert f"is the backup of {ones[0]}" in said


def test_nobody_knows_is_another_answer_than_nobody(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    main_cf = Path(operator.conf) / "main.cf"
    plain = main_cf.read_text()
    main_cf.write_text(plain + "auth_backends = accounts, ldap:/x\n")
    assert "cannot be told" in operator("list", "dora@example.test", status=75)

    def ask(*_: object) -> None:
        raise Refusal(Refused(code=451, dsn="4.3.0", reason="it cannot be told now whether there is such a user"))

    monkeypatch.setattr(System, "_talk", ask)
    assert "cannot be told" in operator("list", "dora@example.test", status=75)
    monkeypatch.undo()
    main_cf.write_text(plain)
    next(Path(operator.conf).parent.rglob("accounts.db")).write_bytes(b"no database" * 100)
    assert "accounts.db" in operator("list", "dora@example.test", status=69)


def test_a_working_directory_that_is_closed_to_us(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    # sudo -u vmail tubepost mailbox …, in /root.
    monkeypatch.chdir(operator.conf)
    system = System(operator.conf)
    really = os.open

    def refuse(path: str, *others: Any, **named: Any) -> int:
        if path == ".":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return really(path, *others, **named)

    async def work(_: object, path: str) -> str:
        return f"{os.getcwd()}/{path}"

    monkeypatch.setattr(places, "knock", lambda _: None)
    expected = os.path.realpath(f"{system.config.queue_directory}/public/auth")
    assert system._talk("auth", work) == expected
    assert os.getcwd() == os.path.realpath(operator.conf)
    monkeypatch.setattr(os, "open", refuse)
    assert system._talk("auth", work) == expected


def test_paths_that_are_not_utf8(operator: Operator, tmp_path: Path) -> None:
    operator.deliver("alice", "1.a.h", letter(1))
    place = f"{tmp_path}/\udcff\x1b"
    shutil.copytree(operator.mail / "alice", place)
    assert operator("search", place, "all").startswith(f"{tmp_path}/??\tINBOX\t")
    assert [row["folder"] for row in operator.json("list", place)] == ["INBOX", "Made"]
    target = f"{tmp_path}/backup\udcff"
    (done,) = operator.json("backup", ALICE, target)
    assert done["path"] == f"{tmp_path}/backup?/{ALICE}"
    assert os.path.isdir(f"{target}/{ALICE}/cur")
    assert "1 messages in" in operator("backup", ALICE, target)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root acts as others")
def test_root_is_not_led_to_the_mail_of_others(operator: Operator) -> None:
    homes = Path(operator.conf).parent / "home"
    homes.mkdir()
    for uid, name in ((4711, "mallory"), (4712, "victim")):
        (homes / name).mkdir()
        for part in ("cur", "new", "tmp"):
            (homes / name / "Maildir" / part).mkdir(parents=True)
        (homes / name / "Maildir" / "cur" / "1.a.h:2,").write_text(letter(1))
        for path in (homes / name, *(homes / name).rglob("*")):
            os.chown(path, uid, uid)
    (homes / "mallory" / "Maildir").rename(homes / "mallory" / "Mail")
    (homes / "mallory" / "Maildir").symlink_to("../victim/./Maildir")
    (homes / "mallory" / "other").symlink_to(homes / "victim")
    for link in ("Maildir", "other"):
        os.chown(homes / "mallory" / link, 4711, 4711, follow_symlinks=False)
    for led in (homes / "mallory" / "Maildir", homes / "mallory" / "other" / "Maildir"):
        assert "link" in operator("expunge", str(led), "-f", "INBOX", "--yes", "all", status=65)
    # His own, and root's, are followed.
    (homes / "mallory" / "Maildir").unlink()
    (homes / "mallory" / "Maildir").symlink_to("Mail")
    os.chown(homes / "mallory" / "Maildir", 4711, 4711, follow_symlinks=False)
    (homes / "people").symlink_to(homes)
    assert "1 messages of INBOX removed" in operator(
        "expunge", f"{homes}/people/mallory/../mallory/Maildir/", "-f", "INBOX", "--yes", "all"
    )
    assert "\tINBOX\t1\n" in operator("search", f"{homes}/victim/Maildir", "all")
