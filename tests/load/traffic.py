"""Everybody at work at a steady rate, for hours if need be: what ``test_soak.py`` measures under.

SMTP, LMTP, sendmail, submission with passwords over TLS, aliases, users of this system, commands, IMAP sessions, IDLE,
POP3, relaying to a server of the test's own, reports of failed delivery, retries, lookups. Each message has a *mark*
(``tests/fault/invariants.py``); who got a yes wrote it down, and who takes it out of its mailbox does so as well: so
the mailboxes stay as large as they are.
"""

import contextlib
import imaplib
import itertools
import os
import poplib
import pwd
import random
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Callable

from tests.fakes.instance import Instance, free_port
from tests.fakes.sink import Sink as Server
from tests.fakes.tls import trusting
from tests.fault.invariants import Mark, marks_in

ALICE, BOB = "alice@example.test", "bob@example.test"
# An account of every system, and not one that the tests run anything as.
USER = "games"
SIZES = (100, 1000, 20_000, 300_000)
_TLS = trusting()
_TROUBLE = (OSError, smtplib.SMTPException, imaplib.IMAP4.error, poplib.error_proto, EOFError, AssertionError)


class Sink(Server):
    """Keeps the marks of what it takes alone; at bounce.test it knows nobody, and at later.test it has no time the
    first time it is asked for somebody.
    """

    def __init__(self) -> None:
        super().__init__(keywords=("8BITMIME",))
        self.taken: Counter[Mark] = Counter()
        self._asked: set[bytes] = set()

    def hear(self, line: bytes) -> None:
        pass

    def keep(self, sender: str, recipients: list[str], data: bytes) -> None:
        self.taken.update(marks_in(data))

    def answer(self, verb: bytes, line: bytes) -> bytes:
        if verb == b"RCPT" and b"@bounce.test" in line:
            return b"550 5.1.1 nobody of that name\r\n"
        if verb == b"RCPT" and b"@later.test" in line:
            name = line.partition(b":<")[2].partition(b">")[0]
            if name not in self._asked:
                self._asked.add(name)
                return b"450 4.2.0 not now\r\n"
            self._asked.discard(name)
        return super().answer(verb, line)


def prepared(sink: Sink, main: dict[str, str]) -> Instance:
    """An instance with all that the traffic needs, not started."""
    there = f"smtp:[127.0.0.1]:{sink.port}"
    domains = ("relay.test", "bounce.test", "later.test")
    lmtp = free_port()
    made = Instance(
        main={
            "minimal_backoff_time": "5s",
            "maximal_backoff_time": "20s",
            "queue_run_delay": "5s",
            "transport_maps": f"inline:{{ {', '.join(f'{{ {domain} = {there} }}' for domain in domains)} }}",
            "relay_domains": " ".join(domains),
            "smtpd_client_connection_count_limit": "0",
            "smtpd_soft_error_limit": "1000",
            "smtpd_hard_error_limit": "1000",
            "max_idle": "30s",
            **main,
        },
        services=("imap", "pop3", "submission"),
        master=(f"127.0.0.1:{lmtp} inet n n n - - lmtpd",),
    )
    made.ports["lmtp"] = lmtp
    # A Maildir below this is the mailbox of each user of this system.
    spools = made.root / "spools"
    spools.mkdir()
    spools.chmod(0o1777)
    made.set_main({"mail_spool_directory": f"{spools}/", "mailbox_command": "", "home_mailbox": ""})
    with open(made.conf / "aliases", "a") as file:
        file.write('consumed: "|cat > /dev/null"\nforwarded: bob@example.test\n')
    made.rebuild_aliases()
    return made


class Traffic:
    """What each kind of client does, again and again, in a thread of its own until ``stop``.

    ``keep``: what was delivered stays where it is, to be looked at afterwards.
    """

    def __init__(self, instance: Instance, sink: Sink, *, keep: bool = False, sizes: tuple[int, ...] = SIZES) -> None:
        self.instance = instance
        self.sink = sink
        self.accepted: set[Mark] = set()
        self.collected: Counter[Mark] = Counter()
        self.rounds: Counter[str] = Counter()
        self.failures: list[str] = []
        self._keep = keep
        self._sizes = sizes
        self._numbers = itertools.count(1)
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def works(self) -> "tuple[Callable[[random.Random], None], ...]":
        # Without root there is one account for all.
        rooted = (self.user,) if os.geteuid() == 0 and USER in {entry.pw_name for entry in pwd.getpwall()} else ()
        return (
            *(self.smtp, self.submission, self.lmtp, self.sendmail, self.local, *rooted),
            *(self.imap, self.idle, self.pop3, self.relay, self.later, self.bounces, self.lookups),
        )

    def start(self) -> None:
        for work in self.works:
            thread = threading.Thread(target=self._repeat, args=(work,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "somebody waits for ever"

    def _repeat(self, work: Callable[[random.Random], None]) -> None:
        chance = random.Random(work.__name__)
        while not self._stopping.wait(0.2):
            try:
                work(chance)
            except _TROUBLE as error:
                # Who waits for new mail when everybody else has stopped waits in vain.
                if not (work == self.idle and self._stopping.is_set()):
                    self.failures.append(f"{work.__name__}: {type(error).__name__} {error}")
            else:
                self.rounds[work.__name__] += 1

    def _message(self, kind: str, chance: random.Random) -> tuple[Mark, str]:
        mark = kind, next(self._numbers)
        # Of a large one a report has the header alone (bounce_size_limit), and so no mark.
        sizes = self._sizes if kind != "bounces" else self._sizes[:3]
        body = ("x" * 70 + "\n") * (chance.choice(sizes) // 71 + 1)
        return mark, f"Subject: {kind} {mark[1]}\n\nmark-{kind}-{mark[1]}-\n{body}end\n"

    # -- mail comes --------------------------------------------------------------------------------------------------

    def _send(self, kind: str, chance: random.Random, recipient: str, *, sender: str = ALICE, count: int = 1) -> None:
        with self.instance.smtp() as client:
            for _ in range(count):
                mark, text = self._message(kind, chance)
                client.sendmail(sender, [recipient.replace("#", str(mark[1]))], text)
                self.accepted.add(mark)

    def smtp(self, chance: random.Random) -> None:
        self._send("smtp", chance, BOB, sender="a@example.org", count=5)

    def relay(self, chance: random.Random) -> None:
        self._send("relay", chance, "u#@relay.test")

    def later(self, chance: random.Random) -> None:
        """Deferred, and taken at the second attempt."""
        self._send("later", chance, "u#@later.test")

    def bounces(self, chance: random.Random) -> None:
        """Accepted, refused by the next server, and reported to alice."""
        self._send("bounces", chance, "u#@bounce.test")

    def local(self, chance: random.Random) -> None:
        """Aliases: one leads to bob, one to a command."""
        self._send("local", chance, "forwarded@localhost")
        self._send("consumed", chance, "consumed@localhost")

    def user(self, chance: random.Random) -> None:
        """A user of this system, who takes his mail away as well."""
        self._send("user", chance, f"{USER}@localhost")
        self.collect_user()

    def collect_user(self) -> None:
        for path in () if self._keep else (self.instance.root / "spools" / USER / "new").glob("*"):
            self.collected.update(marks_in(path.read_bytes()))
            path.unlink()

    def submission(self, chance: random.Random) -> None:
        with smtplib.SMTP("127.0.0.1", self.instance.ports["submission"], timeout=30) as client:
            client.starttls(context=_TLS)
            client.login(ALICE, self.instance.credentials[ALICE])
            mark, text = self._message("submission", chance)
            client.sendmail(ALICE, [BOB], text)
            self.accepted.add(mark)

    def lmtp(self, chance: random.Random) -> None:
        with smtplib.LMTP("127.0.0.1", self.instance.ports["lmtp"], timeout=30) as client:
            mark, text = self._message("lmtp", chance)
            client.sendmail("a@example.org", [BOB], text)
            self.accepted.add(mark)

    def sendmail(self, chance: random.Random) -> None:
        mark, text = self._message("sendmail", chance)
        done = self.instance.command("sendmail", BOB, input=text)
        assert done.returncode == 0, done.stderr
        self.accepted.add(mark)
        # To begin a Python is more work than the message.
        self._stopping.wait(1)

    def lookups(self, chance: random.Random) -> None:
        with self.instance.smtp() as client:
            client.ehlo()
            for _ in range(10):
                assert client.mail("a@example.org")[0] == 250
                assert client.rcpt(f"nobody{chance.randrange(10_000)}@example.test")[0] == 550
                assert client.rcpt(BOB)[0] == 250
                client.rset()

    # -- and is read -------------------------------------------------------------------------------------------------

    def _imap(self, name: str) -> imaplib.IMAP4:
        client = imaplib.IMAP4("127.0.0.1", self.instance.ports["imap"], timeout=30)
        client.starttls(_TLS)
        client.login(name, self.instance.credentials[name])
        return client

    def imap(self, chance: random.Random) -> None:
        with self._imap(ALICE) as client:
            _, [count] = client.select("INBOX")
            mark, text = self._message("note", chance)
            client.append("INBOX", "", imaplib.Time2Internaldate(time.time()), text.replace("\n", "\r\n").encode())
            self.accepted.add(mark)
            client.search(None, "TEXT", "searched")
            client.fetch("1:*", "(FLAGS ENVELOPE BODYSTRUCTURE)")
            if int(count or b"0") > 20 and not self._keep:
                self._take_away(client, "1:10")

    def _take_away(self, client: imaplib.IMAP4, numbers: str) -> None:
        _, parts = client.fetch(numbers, "(BODY.PEEK[])")
        self.collected.update(mark for part in parts if isinstance(part, tuple) for mark in marks_in(part[1]))
        client.store(numbers, "+FLAGS", "(\\Deleted)")
        client.expunge()

    def collect_imap(self) -> None:
        with self._imap(ALICE) as client:
            _, [count] = client.select("INBOX")
            if int(count or b"0"):
                self._take_away(client, "1:*")

    def idle(self, chance: random.Random) -> None:
        """Bob is told of new mail, ten times. RFC 2177."""
        with self._imap(BOB) as client:
            client.select("INBOX")
            for number in range(10):
                if self._stopping.is_set():
                    return
                client.send(b"i%d IDLE\r\n" % number)
                line = b""
                while not line.endswith(b"EXISTS\r\n"):
                    line = client.readline()
                    assert line and b" BAD " not in line, line
                client.send(b"DONE\r\n")
                while not line.startswith(b"i%d OK" % number):
                    line = client.readline()
                    assert line and b" BAD " not in line, line

    def pop3(self, chance: random.Random) -> None:
        """Bob takes all that there is, and it is removed."""
        client = poplib.POP3("127.0.0.1", self.instance.ports["pop3"], timeout=30)
        with contextlib.closing(client):
            client.stls(_TLS)
            client.user(BOB)
            client.pass_(self.instance.credentials[BOB])
            count = len(client.list()[1])
            for number in range(max(1, count - 5) if self._keep else 1, count + 1):
                lines = client.retr(number)[1]
                if not self._keep:
                    self.collected.update(marks_in(b"\n".join(lines[:100])))
                    client.dele(number)
            client.quit()

    # -- and afterwards ----------------------------------------------------------------------------------------------

    def missing(self) -> set[Mark]:
        """Accepted, and not seen anywhere. Nobody sees what a command consumes."""
        gone = self.accepted - self.collected.keys() - self.sink.taken.keys()
        return {mark for mark in gone if mark[0] != "consumed"}

    def collect(self, timeout: float) -> None:
        """All that is left, once nobody is at work any more. Raises AssertionError."""
        self.instance.command("postqueue", "-f")
        chance = random.Random(1)
        deadline = time.monotonic() + timeout
        while lost := self.missing():
            assert time.monotonic() < deadline, f"{len(lost)} accepted, and not delivered: {sorted(lost)[:10]}"
            time.sleep(0.5)
            self.pop3(chance)
            self.collect_imap()
            self.collect_user()
