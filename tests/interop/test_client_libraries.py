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
