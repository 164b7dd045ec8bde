"""Libraries that programs are made of: JavaMail, Ruby's Net::IMAP, Perl's Mail::IMAPClient, c-client, Horde's."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fakes.instance import Instance

ALICE = "alice@example.test"
_HERE = Path(__file__).resolve().parent
_JARS = [Path("/usr/share/java") / name for name in ("javax.mail.jar", "javax.activation.jar")]


def said(
    command: list[str], instance: Instance, *more: str, doors: tuple[str, ...] = ("submission", "imap", "pop3")
) -> dict[str, str]:
    """What a client printed, ``name=value`` a line."""
    ports = [str(instance.ports[service]) for service in doors]
    run = subprocess.run(
        [*command, *ports, ALICE, instance.credentials[ALICE], *more], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return dict(line.split("=", 1) for line in run.stdout.splitlines() if "=" in line)


@pytest.mark.skipif(
    shutil.which("javac") is None or not all(jar.exists() for jar in _JARS),
    reason="needs a Java compiler and libmail-java",
)
def test_javamail() -> None:
    """It compresses, enables UTF8=ACCEPT, reads in windows, idles, and comes back with QRESYNC."""
    with Instance(services=("imap", "pop3", "submission")) as instance:
        program = ["java", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8", "-cp", ":".join(map(str, _JARS))]
        found = said([*program, str(_HERE / "java" / "Clients.java")], instance)
    listed = found.pop("listed")
    assert "Sent[\\HasNoChildren, \\Sent]" in listed and "Projekte/Übersicht & mehr[" in listed
    assert found == {
        "namespaces": "1",
        "idled": "true",
        "idling": "false",
        "count": "1",
        "subject": "Grüße aus Java 会议",
        "seen": "false",
        "parts": "2",
        "text": "Schöne Grüße, 会议|.|From Java",
        "attachment": "true",
        "seen after": "true",
        "whole": "true",
        "by subject": "1",
        "by body": "1",
        "by id": "1",
        "by flag": "1",
        "created": "true",
        "appended": "1",
        "copied": "1",
        "flags": "[$Work]true",
        "count after": "2",
        "sorted": "a second",
        "rights": "true",
        "left": "1",
        "vanished": "1",
        "changed": "1",
        "answered": "true",
        "refused": "true",
        "renamed": "true",
        "deleted": "true",
        "pop3": "a second",
        "pop3 uid": "false",
    }


def _ruby_is_there() -> bool:
    # net-smtp has been a gem of its own since Ruby 3.1.
    ruby = shutil.which("ruby", path="/usr/bin")
    return ruby is not None and not subprocess.run([ruby, "-rnet/imap", "-rnet/smtp", "-rnet/pop", "-e", ""]).returncode


@pytest.mark.skipif(not _ruby_is_there(), reason="needs ruby with net-imap, net-smtp and net-pop")
def test_ruby() -> None:
    with Instance(services=("imap", "pop3", "submission")) as instance:
        found = said(["/usr/bin/ruby", str(_HERE / "ruby" / "client.rb")], instance)
    assert found == {
        "starttls offered": "true",
        "exists": "0",
        "arrived": "1",
        "subject": "=?utf-8?q?Gr=C3=BC=C3=9Fe?= aus Ruby",
        "size": "true",
        "type": "TEXT/PLAIN",
        "body": "Schöne Grüße|.|..two",
        "by subject": "true",
        "by header": "[1]",
        "sorted": "[1]",
        "threads": "1",
        "flags": '["$Work", "Flagged", "Recent"]',
        "listed": "true",
        "subscribed": "true",
        "status": "1",
        "left": "0",
        "acl": "1",
        "pop3": "true",
    }


def _perl_is_there() -> bool:
    perl = shutil.which("perl")
    modules = ("-MMail::IMAPClient", "-MIO::Socket::SSL")
    return perl is not None and not subprocess.run([perl, *modules, "-e", "1"], stderr=subprocess.DEVNULL).returncode


@pytest.mark.skipif(not _perl_is_there(), reason="needs libmail-imapclient-perl and libio-socket-ssl-perl")
def test_perl() -> None:
    with Instance(services=("imap", "pop3", "submission")) as instance:
        found = said(["perl", str(_HERE / "perl" / "client.pl")], instance)
    assert found == {
        "logged in": "1",
        "has": "IDLE,UIDPLUS,MOVE,CONDSTORE",
        "appended": "1",
        "exists": "1",
        "messages": "1",
        "uidnext": "1",
        "whole": "1",
        "size": "1",
        "date": "24-Nov-2026 09:00:00 +0000",
        "subject": "from Perl",
        "parts": "1,2",
        "name": "a (1).html",
        "envelope": "<perl-1@example.test>",
        "part": "words",
        "flags": "$Work,\\Seen",
        "flagged": "1",
        "found": "1",
        "none": "0",
        "created": "1",
        "there": "1",
        "subscribed": "1",
        "listed": "1",
        "separator": "/",
        "parent": "1",
        "copied": "1",
        "moved": "2",
        "left": "0",
        "in it": "2",
        "renamed": "1",
        "hashed": "2",
        "removed": "2",
        "uid expunged": "1",
        "deleted": "1",
        "thread": "1",
        "bad": "0",
        "goes on": "1",
        "gone": "1",
    }


def _php_has(code: str) -> bool:
    php = shutil.which("php")
    return php is not None and not subprocess.run([php, "-r", f"exit({code} ? 0 : 1);"]).returncode


@pytest.mark.skipif(
    not _php_has('function_exists("imap_open") && extension_loaded("mbstring")'), reason="needs php-imap"
)
def test_c_client() -> None:
    doors = ("submissions", "imaps", "pop3s")
    with Instance(services=doors) as instance:
        found = said(["php", str(_HERE / "php" / "c_client.php")], instance, doors=doors)
    right = {name for name, value in found.items() if value == "true"}
    assert right == {
        "appended", "appended more", "ping", "recent", "decoded", "mime", "whole", "flagged", "cleared", "created",
        "subscribed", "copied", "moved", "expunged", "acl", "renamed", "reopened", "undeleted", "unsubscribed",
        "deleted", "deleted mail", "closed",
    }  # fmt: skip
    assert {name: value for name, value in found.items() if name not in right} == {
        "messages": "2",
        "subject": "会议",
        "from": "baer@example.org Bär",
        "to": "2",
        "unseen": " ",
        "internal date": "24-Nov-2026 10:00:00 +0000",
        "parts": "2",
        "attachment": "plan.pdf",
        "body": "Grüße",
        "overview": "[1,2]",
        "searched": "[1]",
        "from searched": "[2]",
        "sorted": "[1,2]",
        "thread": "6",
        "flags": "10",
        "listed": '["Archive/","Büro/","Büro/Größe/","Drafts/","INBOX/","Junk/","Sent/","Trash/"]',
        "in lsub": "1",
        "status": "[2,1,3]",
        "left": "1",
        "there": "2",
        "errors": "false",
        "pop3": "0",
        "last errors": "[]",
    }


@pytest.mark.skipif(
    not _php_has('stream_resolve_include_path("Horde/Imap/Client/Socket.php")'), reason="needs php-horde-imap-client"
)
def test_horde(tmp_path: Path) -> None:
    """It uses all that is announced: UTF8=ACCEPT, CATENATE, BINARY, QRESYNC, SORT=DISPLAY, WITHIN, METADATA, …"""
    log = tmp_path / "log"
    with Instance(services=("submission", "imap", "pop3")) as instance:
        found = said(["php", str(_HERE / "php" / "horde.php")], instance, str(log))
    assert [line for line in log.read_text(errors="replace").splitlines() if line.startswith("S: ") and (
        " BAD " in line or " NO " in line)] == []  # fmt: skip
    assert found == {
        "namespaces": "2",
        "uids": "[1,2,3]",
        "appended": "1",
        "status": "[3,2,4]",
        "listed": "3",
        "special": "true",
        "subscribed": "7",
        "subject": "会议",
        "from": "baer@example.org",
        "flags": '["\\\\seen","work","\\\\recent"]',
        "whole": "true",
        "size": "true",
        "decoded": "8bit:Grüße 0",
        "decoded size": "30",
        "parts": "[0,1,2]",
        "modseq": "true",
        "by subject": "[1]",
        "by text": "[2]",
        "unseen": "[2,3]",
        "newest first": "[3,2,1]",
        "by sender": "3",
        "young": "3",
        "either": "[2,3]",
        "threads": "2",
        "stale": "[2]",
        "changed": "[2]",
        "copied": "[2]",
        "moved": "[1]",
        "new": "1",
        "flagged since": "[3,4]",
        "gone": "[2]",
        "quota": "true",
        "rights": "true",
        "acl": "1",
        "metadata": "hier",
        "left": "0",
    }
