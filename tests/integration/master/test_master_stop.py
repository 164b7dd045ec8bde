"""A stop in a real system: who has begun something finishes it, with whom it takes, and the log hears of it."""

import imaplib
import re
import signal
import socket
import time

from tests.fakes.instance import PATIENCE, Instance


def _until_gone(instance: Instance, program: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while instance.pids(program):
        assert time.monotonic() < deadline, f"{program} stays"
        time.sleep(0.05)


def test_a_message_under_way_is_taken_though_cleanup_has_to_be_started_for_it() -> None:
    with Instance(main={"max_idle": "1s", "heartbeat_interval": "1s"}) as instance:
        assert instance.process is not None
        with socket.create_connection(("127.0.0.1", instance.port), PATIENCE) as client:
            file = client.makefile("rb")
            for line in (
                b"",
                b"EHLO a.example\r\n",
                b"MAIL FROM:<>\r\n",
                b"RCPT TO:<alice@example.test>\r\n",
                b"DATA\r\n",
            ):
                client.sendall(line)
                while (said := file.readline())[3:4] == b"-":
                    pass
            assert said.startswith(b"354")
            client.sendall(b"Subject: late\r\n\r\n")
            _until_gone(instance, "cleanup")
            instance.process.send_signal(signal.SIGTERM)
            instance.log.wait(r"stopping: ")
            client.sendall(b"body\r\n.\r\n")
            assert file.readline().startswith(b"250 ")
        assert instance.stop() == 0
        assert instance.queued("incoming") + instance.queued("active") or instance.messages()


def test_the_log_hears_of_the_end_of_every_session() -> None:
    with Instance(services=["imap"]) as instance:
        client = imaplib.IMAP4("127.0.0.1", instance.ports["imap"], timeout=PATIENCE)
        user, password = next(iter(instance.credentials.items()))
        client.login(user, password)
        client.select()
        assert instance.stop() == 0
        lines = [line for line in instance.log.lines if re.search(r"/(imapd|master)\[", line)]
        ended = [place for place, line in enumerate(lines) if "imapd[" in line and "logged out" in line.lower()]
        assert ended, "\n".join(lines)
        assert "master[" in lines[-1] and lines[-1].endswith("stopped")
        client.shutdown()
