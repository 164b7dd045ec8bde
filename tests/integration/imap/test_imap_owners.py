"""Mailboxes of several owners: one process serves them all, and acts on each as its owner."""

import imaplib
import os
import smtplib
import subprocess
import sys

import pytest

from tests.fakes.instance import Instance

_UID = 1234


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as others")
def test_a_mailbox_with_an_owner_of_its_own() -> None:
    maps = {f"virtual_{kind}_maps": f"accounts:{kind}s, static:65534" for kind in ("uid", "gid")}
    with Instance(services=("imap",), main=maps) as instance:
        subprocess.run(
            [
                *(sys.executable, "-I", "-m", "tubepost.commands.tubepost", "-c", str(instance.conf), "user", "add"),
                *("carol@example.test", "--stdin", "--uid", str(_UID), "--gid", str(_UID)),
            ],
            input="a secret word\n",
            text=True,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        with smtplib.SMTP("127.0.0.1", instance.port) as smtp:
            smtp.sendmail("a@b.example", ["carol@example.test", "alice@example.test"], "Subject: to both\r\n\r\nx\r\n")
        instance.log.wait("status=sent", count=2)
        clients = []
        for user, password in (
            ("carol@example.test", "a secret word"),
            ("alice@example.test", instance.credentials["alice@example.test"]),
        ):
            client = imaplib.IMAP4("127.0.0.1", instance.ports["imap"])
            client.login(user, password)
            assert client.select()[1] == [b"1"]
            client.append("INBOX", "", "", b"Subject: own\r\n\r\n")
            client.create("Work")
            client.copy("1:2", "Work")
            client.store("1", "+FLAGS", "\\Deleted")
            assert client.expunge()[1] == [b"1"]
            clients.append(client)
        for client in clients:
            client.logout()
        for name, owner in (("carol", _UID), ("alice", 65534)):
            home = instance.mail / "example.test" / name
            found = {path.lstat().st_uid for path in (home, *home.rglob("*"))}
            assert found == {owner}
