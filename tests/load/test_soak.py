"""``--soak``: half an hour of mixed traffic; memory is flat within five percent after the first five minutes.

SMTP, submission with passwords over TLS, IMAP sessions, POP3, relaying to a server of the test's own, reports of failed
delivery, retries and lookups, all at a steady rate; then a part with kills. Memory is the sum of what each process has
to itself and its part of what it shares (PSS), looked at every ten seconds.
"""

import contextlib
import email.message
import imaplib
import os
import poplib
import random
import signal
import smtplib
import socket
import ssl
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.instance import Instance, free_port

# Of the whole; half an hour has its five minutes.
WARM = 1 / 6
SAMPLE = 10.0
GROWTH = 1.05
ALICE, BOB = "alice@example.test", "bob@example.test"
_INSECURE = ssl.create_default_context()
_INSECURE.check_hostname = False
_INSECURE.verify_mode = ssl.CERT_NONE


def share_of_memory(pid: int) -> int:
    """PSS, KiB; 0 for a process that is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)


def descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def everybody(instance: Instance) -> dict[int, str]:
    """Pid to program."""
    assert instance.process is not None
    status = instance.status()
    found = {pid: row["program"] for row in status["services"] for pid in row["pids"]}
    return {instance.process.pid: "master", status["template"]: "template", **found}


class Sink:
    """An SMTP server that takes every message and keeps none; at bounce.test it knows nobody."""

    def __init__(self) -> None:
        self.port = free_port()
        self.taken = 0
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as lines:
            connection.sendall(b"220 sink\r\n")
            content = False
            for line in lines:
                if content and line != b".\r\n":
                    continue
                if content:
                    self.taken += 1
                content = line[:4].upper() == b"DATA"
                if b"@bounce.test" in line and line[:4].upper() == b"RCPT":
                    connection.sendall(b"550 5.1.1 nobody of that name\r\n")
                    continue
                connection.sendall(b"354 go on\r\n" if content else b"250 well\r\n")
                if line[:4].upper() == b"QUIT":
                    return

    def close(self) -> None:
        self._listener.close()


class Traffic:
    """What each kind of client does, again and again, in a thread of its own until ``stop``."""

    def __init__(self, instance: Instance, sink: Sink) -> None:
        self.instance = instance
        self.sink = sink
        self.accepted: set[int] = set()
        self.rounds: dict[str, int] = {}
        self.failures: list[str] = []
        self.tolerant = False
        self._number = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        for work in (self.smtp, self.submission, self.imap, self.pop3, self.relay, self.bounces, self.lookups):
            thread = threading.Thread(target=self._repeat, args=(work,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)

    def _repeat(self, work: Callable[[random.Random], None]) -> None:
        chance = random.Random(work.__name__)
        while not self._stopping.wait(0.2):
            try:
                work(chance)
            except (OSError, smtplib.SMTPException, imaplib.IMAP4.error, poplib.error_proto) as error:
                if not self.tolerant:
                    self.failures.append(f"{work.__name__}: {error}")
            self.rounds[work.__name__] = self.rounds.get(work.__name__, 0) + 1

    def message(self, chance: random.Random) -> tuple[int, str]:
        with self._lock:
            self._number += 1
            number = self._number
        body = ("x" * 70 + "\n") * (chance.choice((100, 1000, 20_000, 300_000)) // 71 + 1)
        return number, f"Subject: number {number}\n\n{body}"

    def smtp(self, chance: random.Random) -> None:
        with self.instance.smtp() as client:
            for _ in range(5):
                number, text = self.message(chance)
                client.sendmail("a@example.org", [BOB], text)
                self.accepted.add(number)

    def submission(self, chance: random.Random) -> None:
        with smtplib.SMTP("127.0.0.1", self.instance.ports["submission"], timeout=30) as client:
            client.starttls(context=_INSECURE)
            client.login(ALICE, self.instance.credentials[ALICE])
            number, text = self.message(chance)
            client.sendmail(ALICE, [BOB], text)
            self.accepted.add(number)

    def relay(self, chance: random.Random) -> None:
        with self.instance.smtp() as client:
            client.sendmail(ALICE, [f"u{chance.randrange(1000)}@relay.test"], self.message(chance)[1])

    def bounces(self, chance: random.Random) -> None:
        """Accepted, refused by the next server, and reported to alice."""
        with self.instance.smtp() as client:
            client.sendmail(ALICE, [f"u{chance.randrange(1000)}@bounce.test"], "Subject: for nobody\n\nbody\n")

    def imap(self, chance: random.Random) -> None:
        client = imaplib.IMAP4("127.0.0.1", self.instance.ports["imap"], timeout=30)
        with client:
            client.starttls(_INSECURE)
            client.login(ALICE, self.instance.credentials[ALICE])
            _, [count] = client.select("INBOX")
            note = email.message.EmailMessage()
            note["Subject"] = f"note {chance.randrange(1000)}"
            note.set_content("words to be searched for\n" * chance.randrange(1, 100))
            client.append("INBOX", "", imaplib.Time2Internaldate(time.time()), note.as_bytes())
            client.search(None, "TEXT", "searched")
            client.fetch("1:*", "(FLAGS ENVELOPE BODYSTRUCTURE)")
            if int(count or b"0") > 20:
                client.store("1:10", "+FLAGS", "(\\Deleted)")
                client.expunge()

    def pop3(self, chance: random.Random) -> None:
        """Bob takes all that there is, and it is removed: the mailboxes stay as large as they are."""
        client = poplib.POP3("127.0.0.1", self.instance.ports["pop3"], timeout=30)
        client.stls(_INSECURE)
        client.user(BOB)
        client.pass_(self.instance.credentials[BOB])
        count = len(client.list()[1])
        for number in range(1, count + 1):
            for line in client.top(number, 0)[1]:
                if line.startswith(b"Subject: number "):
                    self.collected.add(int(line[16:]))
            client.retr(number)
            client.dele(number)
        client.quit()

    collected: set[int]

    def lookups(self, chance: random.Random) -> None:
        with self.instance.smtp() as client:
            client.ehlo()
            for _ in range(10):
                client.mail("a@example.org")
                client.rcpt(f"nobody{chance.randrange(10_000)}@example.test")
                client.rcpt(BOB)
                client.rset()


def configured(sink: Sink) -> dict[str, str]:
    there = f"smtp:[127.0.0.1]:{sink.port}"
    routes = f"{{ relay.test = {there} }}, {{ bounce.test = {there} }}"
    return {
        "minimal_backoff_time": "5s",
        "maximal_backoff_time": "20s",
        "queue_run_delay": "5s",
        "transport_maps": f"inline:{{ {routes} }}",
        "relay_domains": "relay.test, bounce.test",
        "smtpd_client_connection_count_limit": "0",
        "smtpd_soft_error_limit": "1000",
        "smtpd_hard_error_limit": "1000",
        "max_idle": "30s",
    }


@pytest.mark.timeout(0)
def test_soak(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--soak"):
        pytest.skip("takes half an hour: --soak")
    seconds: int = request.config.getoption("--soak-seconds")
    sink = Sink()
    with Instance(main=configured(sink), services=("imap", "pop3", "submission")) as instance:
        traffic = Traffic(instance, sink)
        traffic.collected = set()
        traffic.start()
        begun = time.monotonic()
        memory: list[tuple[float, int]] = []
        files: list[tuple[float, int]] = []
        programs: list[tuple[float, dict[str, int]]] = []
        while (passed := time.monotonic() - begun) < seconds:
            time.sleep(min(SAMPLE, seconds / 30))
            there = everybody(instance)
            shares: dict[str, int] = {}
            for pid, program in there.items():
                shares[program] = shares.get(program, 0) + share_of_memory(pid)
            memory.append((passed, sum(shares.values())))
            programs.append((passed, shares))
            files.append((passed, sum(descriptors(pid) for pid in there)))
        traffic.stop()
        print("rounds", traffic.rounds, "relayed", sink.taken)
        print("MiB", [round(size / 1024) for _, size in memory])
        first = next(shares for at, shares in programs if at >= seconds * WARM)
        last = programs[-1][1]
        grown = {name: last[name] - first.get(name, 0) for name in last}
        print("KiB more, by program", grown)
        for name, samples in (("memory", memory), ("descriptors", files)):
            early = statistics.mean(size for at, size in samples if seconds * WARM <= at < seconds * (WARM + 0.2))
            late = statistics.mean(size for at, size in samples if at >= seconds * 0.8)
            print(f"{name}: {early:.0f} became {late:.0f}, {100 * late / early - 100:+.1f} %")
            if late > early * GROWTH:
                pytest.fail(f"{name} grew from {early:.0f} to {late:.0f}; KiB by program: {grown}")
        assert not traffic.failures, traffic.failures[:20]
        assert all(count > seconds / 60 for count in traffic.rounds.values()), traffic.rounds
        instance.command("postqueue", "-f")
        deadline = time.monotonic() + 60
        while traffic.accepted - traffic.collected and time.monotonic() < deadline:
            traffic.pop3(random.Random(1))
            time.sleep(1)
        assert not traffic.accepted - traffic.collected, "accepted, and not delivered"
        assert not instance.log.count(r"panic|fatal|Traceback|does not answer|was killed")
    sink.close()


@pytest.mark.timeout(0)
def test_soak_with_kills(request: pytest.FixtureRequest) -> None:
    """A sixth of the time: a program is killed now and then, and what was accepted is delivered all the same."""
    if not request.config.getoption("--soak"):
        pytest.skip("takes minutes: --soak")
    seconds = request.config.getoption("--soak-seconds") / 6
    sink = Sink()
    main = {**configured(sink), "service_throttle_time": "1s", "transport_retry_time": "1s"}
    with Instance(main=main, services=("imap", "pop3", "submission")) as instance:
        traffic = Traffic(instance, sink)
        traffic.collected = set()
        traffic.tolerant = True
        traffic.start()
        chance = random.Random(1)
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            time.sleep(1)
            program = chance.choice(("smtpd", "cleanup", "virtual", "rewrite", "bounce", "imapd", "smtp", "qmgr"))
            for pid in instance.pids(program):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        traffic.stop()
        instance.command("postqueue", "-f")
        deadline = time.monotonic() + 120
        while traffic.accepted - traffic.collected and time.monotonic() < deadline:
            with contextlib.suppress(OSError, poplib.error_proto):
                traffic.pop3(chance)
            time.sleep(1)
        assert not traffic.accepted - traffic.collected, "accepted, and not delivered"
    sink.close()
