"""Libraries that programs are made of: JavaMail, Ruby's Net::IMAP, Perl's Mail::IMAPClient."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fakes.instance import Instance

ALICE = "alice@example.test"
_HERE = Path(__file__).resolve().parent
_JARS = [Path("/usr/share/java") / name for name in ("javax.mail.jar", "javax.activation.jar")]


def said(command: list[str], instance: Instance) -> dict[str, str]:
    """What a client printed, ``name=value`` a line."""
    ports = [str(instance.ports[service]) for service in ("submission", "imap", "pop3")]
    run = subprocess.run(
        [*command, *ports, ALICE, instance.credentials[ALICE]], capture_output=True, text=True, timeout=60
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
