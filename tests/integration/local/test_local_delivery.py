"""The local agent in a real system: aliases, lists, forward files, mailboxes, commands, loops.

With root it delivers as another account; without, as the one that runs the test.
"""

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.instance import Instance

ROOT = os.geteuid() == 0
USER = "daemon" if ROOT else pwd.getpwuid(os.geteuid()).pw_name
UID = pwd.getpwnam(USER).pw_uid
# Whose rights commands and files of root's aliases have.
DEFAULT = pwd.getpwnam("nobody").pw_uid if ROOT else UID
HOST = "mail.example.test"


class Home:
    """A directory that the user may write to, and an instance that keeps all of the user's mail in it."""

    def __init__(self, main: dict[str, str] | None = None, aliases: str = "") -> None:
        settings = {
            "recipient_delimiter": "+",
            "mydestination": HOST,
            "minimal_backoff_time": "1h",
            "notify_classes": "",
        }
        self.instance = Instance(main=settings | (main or {}))
        self.path = self.instance.root / "home"
        self.path.mkdir()
        os.chmod(self.path, 0o777)
        self.instance.set_main(
            {
                "forward_path": f"{self.path}/$user.forward+${{extension}}, {self.path}/$user.forward",
                "mail_spool_directory": str(self.path),
                "alias_maps": f"hash:{self.instance.conf}/aliases",
                **{name: value.replace("HOME", str(self.path)) for name, value in (main or {}).items()},
            }
        )
        (self.instance.conf / "aliases").write_text(aliases.replace("HOME", str(self.path)))
        self.instance.rebuild_aliases()

    def write(self, name: str, text: str, uid: int = UID) -> Path:
        path = self.path / name
        path.write_text(text.replace("HOME", str(self.path)))
        os.chmod(path, 0o644)
        if ROOT:
            os.chown(path, uid, uid)
        return path

    def send(self, user: str, **more: str) -> None:
        self.instance.send(f"{user}@{HOST}", **more)

    def sent(self, pattern: str) -> str:
        return self.instance.log.wait(pattern)[0].string

    def __enter__(self) -> "Home":
        self.instance.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.instance.stop()
        self.instance.remove()


@pytest.fixture
def home() -> Iterator[Home]:
    with Home() as running:
        yield running


def test_a_user_gets_an_mbox_that_belongs_to_the_user(home: Home) -> None:
    home.send(USER, content="Subject: one\n\nFrom here on\nbody\n")
    home.sent(rf"local\[\d+\]: \w+: to=<{USER}@{HOST}>, relay=local, .* status=sent \(delivered to mailbox\)")
    box = home.path / USER
    assert box.stat().st_uid == UID
    assert stat.S_IMODE(box.stat().st_mode) == 0o600
    text = box.read_text()
    lines = text.split("\n")
    assert lines[0].startswith("From a@example.org  ")
    assert lines[1:4] == [
        "Return-Path: <a@example.org>",
        f"X-Original-To: {USER}@{HOST}",
        f"Delivered-To: {USER}@{HOST}",
    ]
    assert text.endswith("\n\n>From here on\nbody\n\n")
    assert not (home.path / f"{USER}.lock").exists()
    home.send(USER, content="Subject: two\n\nbody\n")
    home.instance.log.wait(r"status=sent \(delivered to mailbox\)", 2)
    assert box.read_text().count("\nFrom a@example.org") == 1


def test_an_unknown_user_of_the_alias_maps_is_told_of() -> None:
    with Home(main={"local_recipient_maps": ""}) as home:
        home.send("no.such.user", sender="")
        home.sent(r'dsn=5.1.1, status=bounced \(unknown user: "no.such.user"\)')


def test_aliases_reach_addresses_files_commands_and_lists_with_the_rights_they_give() -> None:
    aliases = (
        f'team: {USER}, /HOME/team.mbox, "|cat > HOME/command.out; id -u > HOME/command.id", :include:HOME/list\n'
        "Box: HOME/Maildir/\n"
        "postmaster: /dev/null\n"
    ).replace("//", "/")
    with Home(aliases=aliases) as home:
        home.write("list", "# comment\nelse@example.test\n")
        home.send("team+ext", content="Subject: all\n\nbody\n")
        home.sent(rf"to=<{USER}@{HOST}>, orig_to=<team\+ext@{HOST}>, relay=local, .*\(delivered to mailbox\)")
        home.sent(rf"to=<team\+ext@{HOST}>, relay=local, .*\(delivered to file: .*/team.mbox\)")
        home.sent(rf"to=<team\+ext@{HOST}>, relay=local, .*\(delivered to command: cat > .*\)")
        queue_id = home.instance.log.wait(rf"to=<team\+ext@{HOST}>, relay=local, .*\(forwarded as (\w+)\)")[0][1]
        home.sent(rf"cleanup\[\d+\]: {queue_id}: message-id=")
        home.sent(rf"qmgr\[\d+\]: {queue_id}: from=<a@example.org>, .*nrcpt=1")
        assert (home.path / "team.mbox").stat().st_uid == DEFAULT
        assert (home.path / "command.id").read_text() == f"{DEFAULT}\n"
        out = (home.path / "command.out").read_text()
        assert out.startswith("From a@example.org  ")
        assert f"\nDelivered-To: team+ext@{HOST}\n" in out
        assert out.endswith("\n\nbody\n")
        home.send("box")
        home.sent(r"\(delivered to maildir\)")
        assert len(list((home.path / "Maildir" / "new").iterdir())) == 1
        home.send("postmaster")
        home.sent(r"\(delivered to file: /dev/null\)")


def test_a_forward_file_rules_and_a_copy_to_oneself_ends_in_the_mailbox(home: Home) -> None:
    home.write(f"{USER}.forward", f'{USER}, away@example.test\n"|id -u > HOME/id"\n')
    home.send(USER)
    home.sent(r"\(delivered to mailbox\)")
    home.sent(r"\(delivered to command: id -u > ")
    forwarded = home.instance.log.wait(r"\(forwarded as (\w+)\)")[0][1]
    home.sent(rf"qmgr\[\d+\]: {forwarded}: from=<a@example.org>")
    assert (home.path / "id").read_text() == f"{UID}\n"


def test_a_forward_file_with_an_extension_comes_first(home: Home) -> None:
    home.write(f"{USER}.forward", "HOME/plain\n")
    home.write(f"{USER}.forward+list", "HOME/extended\n")
    home.send(f"{USER}+list")
    home.sent(r"\(delivered to file: .*/extended\)")
    home.send(f"{USER}+other")
    home.sent(r"\(delivered to file: .*/plain\)")


def test_a_forward_file_that_others_may_write_is_not_used(home: Home) -> None:
    path = home.write(f"{USER}.forward", "HOME/stolen\n")
    os.chmod(path, 0o666)
    home.send(USER)
    home.sent(r"warning: \w+: file .* is world writable")
    home.sent(r"\(delivered to mailbox\)")
    assert not (home.path / "stolen").exists()


def test_mail_that_went_by_already_is_returned(home: Home) -> None:
    home.send(USER, content=f"Delivered-To: {USER.upper()}@{HOST}\nSubject: loop\n\nx\n", sender="")
    home.sent(rf"dsn=5.4.6, status=bounced \(mail forwarding loop for {USER}@{HOST}\)")


COMMANDS = (
    ("exit 0", r"status=sent \(delivered to command: exit 0\)"),
    ("exit 67", r"dsn=5.1.1, status=bounced \(user unknown\)"),
    ("exit 75", r"dsn=4.3.0, status=deferred \(temporary failure\)"),
    ("echo full; exit 73", r"dsn=5.2.0, status=bounced \(can't create user output file. Command output: full\)"),
    ("echo 4.2.2 later; exit 1", r"dsn=4.2.2, status=deferred \(later\)"),
    ("exit 3", r'dsn=5.3.0, status=bounced \(Command died with status 3: "exit 3"\)'),
    ("kill -9 $$", r'dsn=4.3.0, status=deferred \(Command died with signal 9: "kill -9 \$\$"\)'),
    ("sleep 60", r'dsn=5.3.0, status=bounced \(Command time limit exceeded: "sleep 60"\)'),
    ("/no/such/file", r"dsn=4.3.0, status=deferred \(temporary failure. .* cannot execute /no/such/file: "),
)


def test_what_a_command_says_is_what_becomes_of_the_mail() -> None:
    aliases = "".join(f'c{index}: "|{command}"\n' for index, (command, _) in enumerate(COMMANDS))
    with Home(main={"command_time_limit": "1s"}, aliases=aliases) as home:
        home.instance.send([f"c{index}@{HOST}" for index in range(len(COMMANDS))], sender="")
        for index, (_, line) in enumerate(COMMANDS):
            home.sent(rf"to=<c{index}@{HOST}>, .*{line}")


def test_the_environment_of_a_command_cannot_carry_a_shell_command() -> None:
    with Home(main={"mailbox_command": "env > HOME/env"}) as home:
        home.send(f"{USER}+a.b", sender="x${id}`w`@example.org")
        home.sent(r"delivered to command")
        values = dict(line.split("=", 1) for line in (home.path / "env").read_text().splitlines() if "=" in line)
        assert values["SENDER"] == "x__id__w_@example.org"
        assert not set("$`{}") & set("".join(values[name] for name in ("SENDER", "RECIPIENT", "LOCAL")))
        assert values["USER"] == values["LOGNAME"] == USER
        assert values["EXTENSION"] == "a.b"
        assert values["LOCAL"] == f"{USER}+a.b"
        assert values["DOMAIN"] == HOST
        assert values["RECIPIENT"] == values["ORIGINAL_RECIPIENT"] == f"{USER}+a.b@{HOST}"
        assert values["CLIENT_ADDRESS"] == "127.0.0.1"
        assert values["CLIENT_PROTOCOL"] == "ESMTP"
        assert values["HOME"] == pwd.getpwnam(USER).pw_dir
        assert values["PATH"] == "/usr/bin:/bin"


def test_an_owner_alias_becomes_the_sender_and_a_list_is_sent_anew() -> None:
    aliases = f"list: {USER}, x@example.test\nowner-list: {USER}\n"
    with Home(aliases=aliases) as home:
        home.send("list")
        forwarded = home.instance.log.wait(r"\(forwarded as (\w+)\)")[0][1]
        home.sent(rf"qmgr\[\d+\]: {forwarded}: from=<owner-list@{HOST}>, .*nrcpt=2")
        home.sent(rf"{forwarded}: to=<{USER}@{HOST}>, .*\(delivered to mailbox\)")
        text = (home.path / USER).read_text()
        assert f"Return-Path: <owner-list@{HOST}>" in text
        assert f"\nDelivered-To: list@{HOST}\n" in text


def test_the_failure_of_a_list_is_told_to_its_owner_and_not_to_the_sender() -> None:
    aliases = f'list: "|exit 67"\nowner-list: {USER}\n'
    with Home(aliases=aliases) as home:
        home.send("list")
        home.sent(rf"to=<list@{HOST}>, .*dsn=5.1.1, status=bounced \(user unknown\)")
        home.sent(rf"to=<{USER}@{HOST}>, .*\(delivered to mailbox\)")
        home.instance.log.wait(r"qmgr\[\d+\]: \w+: removed", 2)
        report = (home.path / USER).read_text()
        assert "Subject: Undelivered Mail Returned to Sender" in report
        assert f"\nTo: owner-list@{HOST}\n" in report
        assert "Status: 5.1.1" in report
        assert not home.instance.log.count("to=<a@example.org>")


def test_a_list_of_thousands_is_one_message() -> None:
    with Home(aliases="list: :include:HOME/members\n", main={"virtual_mailbox_domains": ""}) as home:
        home.write("members", "".join(f"user{number}@{HOST}\n" for number in range(5000)))
        home.send("list")
        forwarded = home.instance.log.wait(r"\(forwarded as (\w+)\)")[0][1]
        home.sent(rf"qmgr\[\d+\]: {forwarded}: from=<a@example.org>, .*nrcpt=5000")


def test_unknown_users_go_where_luser_relay_and_the_transports_say() -> None:
    main = {"local_recipient_maps": "", "luser_relay": f"{USER}+$local"}
    with Home(main=main) as home:
        home.send("stranger")
        home.sent(rf"to=<{USER}\+stranger@{HOST}>, orig_to=<stranger@{HOST}>, .*\(delivered to mailbox\)")
    main = {
        "local_recipient_maps": "",
        "fallback_transport": "error:5.1.6 moved",
        "mailbox_transport_maps": "inline:{x=discard:}",
    }
    with Home(main=main) as home:
        home.send("stranger", sender="")
        home.sent(r"passing <stranger@.*> to transport=error")
        home.sent(rf"error\[\d+\]: \w+: to=<stranger@{HOST}>, .* dsn=5.1.6, status=bounced \(moved\)")
        home.send("x")
        home.sent(rf"discard\[\d+\]: \w+: to=<x@{HOST}>, .* status=sent ")


@pytest.mark.skipif(ROOT, reason="root may act as anyone")
def test_without_root_it_says_what_it_cannot_do() -> None:
    with Home(main={"local_recipient_maps": ""}) as home:
        home.send("daemon")
        home.sent(r"status=deferred \(.*cannot act as user id 1: this mail system runs without root")


def test_a_forward_file_that_is_no_utf8_loses_and_doubles_nothing(home: Home) -> None:
    forward = home.write(f"{USER}.forward", "")
    forward.write_bytes(os.fsencode(home.path) + b"/K\xe4sten, \\" + USER.encode() + b"\n")
    home.send(USER)
    home.sent(r"status=sent \(delivered to file: .*\)")
    home.sent(r"qmgr\[\d+\]: \w+: removed")
    assert os.path.exists(os.fsencode(home.path) + b"/K\xe4sten")
    forward.write_bytes(b"J\xf6rg@remote.example\n")
    home.send(USER)
    home.sent(r"status=bounced \(.*bad recipient address syntax")
    forward.write_bytes(os.fsencode(home.path) + b"/one\0two\n")
    home.send(USER)
    home.sent(r"status=sent \(delivered to file: .*/one\)")
