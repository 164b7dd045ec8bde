"""Connections of a user are counted over all imapd processes and ports: real ones, killed and stopped as well."""

import imaplib
import os
import re
import signal
import ssl
import time
from collections.abc import Iterator

import pytest

from tests.fakes.instance import PATIENCE, Instance

LIMIT = 4
# Seats of a process: fewer than the limit, so that no process alone reaches it.
SEATS = 3
# The first login with a silent anvil waits for it this long at most, seconds; the bus looks at deadlines once a second.
SILENCE = 2.0 + 1.0


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    made = Instance(
        main={"imapd_user_connection_limit": str(LIMIT), "client_limit": str(SEATS), "anvil_rate_time_unit": "1s"},
        services=("imap", "imaps"),
    )
    # One process behind imaps: what is said twice there is said to the same one.
    path = made.conf / "master.cf"
    line = re.compile(rf"(?m)^(127\.0\.0\.1:{made.ports['imaps']}\s+inet(?:\s+\S+){{4}}\s+)\S+")
    path.write_text(line.sub(r"\g<1>1", path.read_text()))
    with made:
        yield made


class People:
    """Clients that are logged in, and which process serves each."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.clients: list[imaplib.IMAP4] = []
        self.alice, self.bob = sorted(instance.credentials)[:2]

    def log_in(self, user: str, service: str = "imap") -> int:
        """Returns the process. Raises imaplib's error."""
        port = self.instance.ports[service]
        client: imaplib.IMAP4
        if service == "imaps":
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            client = imaplib.IMAP4_SSL("127.0.0.1", port, ssl_context=context, timeout=PATIENCE)
        else:
            client = imaplib.IMAP4("127.0.0.1", port, timeout=PATIENCE)
        start = len(self.instance.log.lines)
        try:
            client.login(user, self.instance.credentials[user])
        except imaplib.IMAP4.error:
            client.shutdown()
            raise
        self.clients.append(client)
        return int(self.instance.log.wait(rf"\[(\d+)\]: {re.escape(user)} .*logged in", start=start)[0][1])

    def is_refused(self, user: str, service: str = "imap") -> bool:
        try:
            self.log_in(user, service)
        except imaplib.IMAP4.error as error:
            assert "[LIMIT]" in str(error), error
            return True
        self.clients.pop().logout()
        return False

    def leave(self) -> None:
        for client in self.clients:
            try:
                client.logout()
            except (OSError, imaplib.IMAP4.error):
                client.shutdown()
        self.clients.clear()


@pytest.fixture
def people(instance: Instance) -> Iterator[People]:
    found = People(instance)
    yield found
    found.leave()


def test_the_limit_is_over_processes_and_ports_and_a_killed_one_gives_back(instance: Instance, people: People) -> None:
    served = [people.log_in(people.alice) for _ in range(SEATS)]
    served.append(people.log_in(people.alice, "imaps"))
    assert len(set(served)) > 1, "all in one process: this tests nothing"
    start = len(instance.log.lines)
    assert people.is_refused(people.alice)
    assert people.is_refused(people.alice, "imaps")
    instance.log.wait(
        rf"warning: {re.escape(people.alice)} \[127.0.0.1\]: login refused: more than {LIMIT} ", 2, start=start
    )
    people.log_in(people.bob)
    # One that leaves makes room for one.
    people.clients.pop(SEATS).logout()
    instance.log.wait(rf"{re.escape(people.alice)} \[127.0.0.1\]: logged out", start=start)
    people.log_in(people.alice, "imaps")
    assert people.is_refused(people.alice)
    os.kill(served[0], signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    while people.is_refused(people.alice):
        assert time.monotonic() < deadline, "the connections of the killed process are still counted"


def test_logins_go_on_when_anvil_is_killed(instance: Instance, people: People) -> None:
    start = len(instance.log.lines)
    for number in range(SEATS):
        if number:
            for pid in instance.pids("anvil"):
                os.kill(pid, signal.SIGKILL)
        people.log_in(people.alice, "imaps")
    # The new one was told what that process had before.
    for _ in range(LIMIT - SEATS):
        people.log_in(people.alice)
    assert people.is_refused(people.alice)
    assert not [line for line in instance.log.lines[start:] if "cannot count" in line]


def test_logins_go_on_when_anvil_hangs_and_that_is_said_once(instance: Instance, people: People) -> None:
    people.log_in(people.bob, "imaps")
    start = len(instance.log.lines)
    stopped = instance.pids("anvil")
    assert stopped
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        for number in range(2):
            began = time.monotonic()
            people.log_in(people.alice, "imaps")
            assert time.monotonic() - began < (1.0 if number else SILENCE + 2.0)
        assert len([line for line in instance.log.lines[start:] if "cannot count connections of users" in line]) == 1
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
