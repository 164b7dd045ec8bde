"""A large message whose file gets shorter while it is sent: its reader's session ends, and nobody else's."""

import imaplib
import poplib
import re
import socket

from tests.fakes.instance import PATIENCE, Instance

SIZE = 9 << 20


def test_who_cuts_a_file_short_ends_no_one_elses_session() -> None:
    with Instance(services=("imap", "pop3"), main={"auth_failure_delay": "0"}) as instance:
        first, second = sorted(instance.credentials)[:2]
        folder = instance.mail / "example.test" / first.partition("@")[0]
        pop3 = poplib.POP3("127.0.0.1", instance.ports["pop3"], timeout=PATIENCE)
        pop3.user(second)
        pop3.pass_(instance.credentials[second])
        imap = imaplib.IMAP4("127.0.0.1", instance.ports["imap"], timeout=PATIENCE)
        imap.login(second, instance.credentials[second])
        with imaplib.IMAP4("127.0.0.1", instance.ports["imap"], timeout=PATIENCE) as client:
            client.login(first, instance.credentials[first])
            for _ in range(2):
                client.append(
                    "INBOX", "", None, b"Subject: x\r\n\r\n" + b"y" * 70 + b"\r\n" * 2 + b"z" * SIZE + b"\r\n"
                )
        pids = {program: instance.pids(program) for program in ("pop3d", "imapd")}
        files = [path for part in ("cur", "new") for path in (folder / part).iterdir()]
        assert len(files) == 2
        commands = {
            "pop3": (f"USER {first}", f"PASS {instance.credentials[first]}", "RETR 1"),
            "imap": (f"a LOGIN {first} {instance.credentials[first]}", "b SELECT INBOX", "c FETCH 1 BODY[]"),
        }
        readers = {}
        for service, lines in commands.items():
            reader = readers[service] = socket.create_connection(("127.0.0.1", instance.ports[service]), PATIENCE)
            for line in lines:
                reader.sendall(line.encode() + b"\r\n")
            seen = b""
            while b"z" * 100 not in seen:
                seen += reader.recv(4096)
        for file in files:
            with open(file, "r+b") as opened:
                opened.truncate(100)
        for reader in readers.values():
            total = 0
            try:
                while data := reader.recv(65536):
                    total += len(data)
            except ConnectionResetError:
                pass
            assert 0 < total < SIZE
            reader.close()
        instance.log.wait(rf"error: {re.escape(first)} \[127.0.0.1\]: message 1 cannot be read to its end")
        instance.log.wait(rf"error: {re.escape(first)} \[127.0.0.1\]: message 1 of INBOX cannot be read to its end")
        assert pop3.noop().startswith(b"+OK")
        assert imap.noop()[0] == "OK"
        assert {program: instance.pids(program) for program in ("pop3d", "imapd")} == pids
