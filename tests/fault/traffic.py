"""Everybody at work at once, and what each was told: the load under which faults are injected.

SMTP to mailboxes, to destinations that take it, are down or bounce; sendmail; LMTP; IMAP (APPEND, STORE, COPY,
MOVE, EXPUNGE); POP3 (DELE); postsuper; passwords. Each thread notes a message *after* the yes that it got for it.
"""

import contextlib
import imaplib
import itertools
import os
import poplib
import random
import re
import secrets
import smtplib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator

from tests.fakes.instance import Instance, free_port
from tests.fakes.sink import Sink
from tests.fault.invariants import Mark

# Mail to these domains goes where nobody listens: it is deferred, until there is a Receiver.
DOWN, UP = "down.test", "up.test"
# Mail to this address is returned.
BOUNCES = "returns@localhost"
# What was interrupted is tried again while the test runs.
QUICK = {
    "minimal_backoff_time": "1s",
    "maximal_backoff_time": "2s",
    "queue_run_delay": "1s",
    "transport_retry_time": "1s",
    "service_throttle_time": "1s",
    "in_flow_delay": "0s",
    "notify_classes": "",
    "smtpd_client_connection_count_limit": "0",
}
EVERYTHING = "smtp down bounce sendmail lmtp imap pop postsuper password table alias"
TABLE_KEYS = 500
_APPENDED = re.compile(rb"APPENDUID (\d+) (\d+)")
_COPIED = re.compile(rb"COPYUID (\d+) (\d+) (\d+)")


def instance(root: str | None = None, main: dict[str, str] | None = None) -> Instance:
    """An instance with all that the traffic needs."""
    lmtp = free_port()
    made = Instance(
        root=root,
        main={**QUICK, "transport_maps": "texthash:$config_directory/transport", **(main or {})},
        services=("imap", "pop3"),
        master=(f"127.0.0.1:{lmtp} inet n n n - - lmtpd",),
    )
    made.ports |= {"lmtp": lmtp, DOWN: free_port(), UP: free_port()}
    made.write_table("transport", "".join(f"{name} smtp:[127.0.0.1]:{made.ports[name]}\n" for name in (DOWN, UP)))
    with open(made.conf / "aliases", "a") as file:
        file.write('returns: "|exit 67"\n')  # EX_NOUSER
    made.rebuild_aliases()
    for user in ("carol", "dave", "erin"):
        done = made.command("tubepost", "user", "add", f"{user}@example.test", "--stdin", input="first\n")
        assert done.returncode == 0, done.stderr
        made.credentials[f"{user}@example.test"] = "first"
    return made


class Receiver(Sink):
    """Takes the mail for ``domain`` and keeps it as a Maildir does: there the invariants look for marks."""

    def __init__(self, instance: Instance, domain: str) -> None:
        self._folder = instance.mail / domain / "new"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._files = itertools.count(1)
        super().__init__(port=instance.ports[domain])

    def keep(self, sender: str, recipients: list[str], data: bytes) -> None:
        (self._folder / f"{next(self._files)}.{secrets.token_hex(4)}").write_bytes(data.replace(b"\r\n", b"\n"))


class Traffic:
    """Threads that work until ``stop``. ``accepted``: marks of messages that were answered with a yes."""

    def __init__(self, instance: Instance, kinds: str = EVERYTHING, *, first: int = 1) -> None:
        """``first``: number of the first message."""
        self.instance = instance
        self.accepted: list[Mark] = []
        # What removing it was begun: it may be there or not.
        self.removed: set[Mark] = set()
        # (folder, UIDVALIDITY, UID) that a client was told of, and the mark of the message.
        self.uids: dict[tuple[str, int, int], Mark] = {}
        # Those of erin: begun to be set, and set.
        self.passwords_begun: list[str] = ["first"]
        self.passwords: list[str] = ["first"]
        # Of a table: the number that each of its values ends with, begun to be built, and built.
        self.tables_begun = self.tables = 0
        # Names that ``tubepost alias`` said to be there.
        self.aliases: list[str] = []
        self.troubles: list[str] = []
        # Replies that said no for good.
        self.refused: list[int] = []
        self._numbers = itertools.count(first)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(work,), daemon=True) for work in self._works(kinds.split())
        ]
        for thread in self._threads:
            thread.start()

    def _works(self, kinds: list[str]) -> Iterator[Callable[[], None]]:
        table: dict[str, list[Callable[[], None]]] = {
            "smtp": [lambda: self._smtp("smtp", ["alice@example.test"])] * 2
            + [lambda: self._smtp("many", ["alice@example.test", "bob@example.test", "carol@example.test"])],
            "down": [lambda: self._smtp("down", [f"x@{DOWN}", "alice@example.test"], 15)],
            "up": [lambda: self._smtp("up", [f"x@{UP}"], 5)],
            "bounce": [lambda: self._smtp("bounce", [BOUNCES], 5)],
            "sendmail": [self._sendmail],
            "lmtp": [self._lmtp],
            "imap": [self._imap],
            "pop": [self._pop],
            "postsuper": [self._postsuper],
            "password": [self._password],
            "table": [self._table],
            "alias": [self._alias],
        }
        return itertools.chain.from_iterable(table[kind] for kind in kinds)

    def stop(self) -> list[Mark]:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        assert not self.refused, f"refused for good: {self.refused}; {self.troubles[-20:]}"
        return self.accepted

    def wait(self, more: int, timeout: float = 40.0, *, operator: bool = False) -> None:
        """Until so many more were accepted; ``operator``: and a table and an alias were made."""
        wanted = len(self.accepted) + more
        waited = 0.0
        while len(self.accepted) < wanted or (operator and not (self.tables and self.aliases)):
            assert waited < timeout, f"no mail is accepted any more: {self.troubles[-5:]}"
            self._stop.wait(0.05)
            waited += 0.05

    def _repeat(self, work: Callable[[], None]) -> None:
        while not self._stop.is_set():
            try:
                work()
            except (OSError, smtplib.SMTPException, imaplib.IMAP4.error, poplib.error_proto) as error:
                if isinstance(error, smtplib.SMTPRecipientsRefused):
                    self._look(code for code, _ in error.recipients.values())
                elif isinstance(error, smtplib.SMTPResponseException):
                    self._look([error.smtp_code])
                self.troubles.append(f"{type(error).__name__}: {error}")
                self._stop.wait(0.05)

    def _look(self, codes: Iterable[int]) -> None:
        """A fault of ours is nobody's for ever."""
        self.refused += [code for code in codes if code >= 500]

    def _message(self, kind: str, lines: int = 20) -> tuple[Mark, str]:
        number = next(self._numbers)
        text = f"Subject: {kind} {number}\nMessage-ID: <{kind}.{number}@load>\n\nmark-{kind}-{number}-\n"
        return (kind, number), text + "x" * 70 + "\n" * lines + "end\n"

    # -- mail comes --------------------------------------------------------------------------------------------------

    def _smtp(self, kind: str, recipients: list[str], pause: float = 0) -> None:
        with smtplib.SMTP("127.0.0.1", self.instance.port, timeout=20) as client:
            for _ in range(5):
                if self._stop.wait(pause / 50):
                    return
                mark, text = self._message(kind, random.choice((10, 10, 3000)))
                # The bounces go to bob.
                refused = client.sendmail("bob@example.test", recipients, text)
                # Where one of them was put off, the others have it.
                self._look(code for code, _ in refused.values())
                self.accepted.append(mark)

    def _lmtp(self) -> None:
        with smtplib.LMTP("127.0.0.1", self.instance.ports["lmtp"], timeout=20) as client:
            for _ in range(5):
                if self._stop.wait(0.02):
                    return
                mark, text = self._message("lmtp")
                client.sendmail("a@example.org", ["bob@example.test"], text)
                self.accepted.append(mark)

    def _sendmail(self) -> None:
        mark, text = self._message("sendmail")
        done = subprocess.run(
            [sys.executable, "-I", "-m", "tubepost.commands.sendmail", "alice@example.test"],
            env={**os.environ, "MAIL_CONFIG": str(self.instance.conf)},
            input=text.encode(),
            capture_output=True,
            timeout=60,
        )
        if done.returncode == 0:
            self.accepted.append(mark)
        self._stop.wait(0.2)

    # -- people and their programs -----------------------------------------------------------------------------------

    def _imap(self) -> None:
        address = "carol@example.test"
        with imaplib.IMAP4("127.0.0.1", self.instance.ports["imap"], timeout=20) as client:
            client.login(address, self.instance.credentials[address])
            client.create("Box")
            client.select("INBOX")
            for _ in range(20):
                if self._stop.wait(0.01):
                    return
                self._imap_step(client)

    def _imap_step(self, client: imaplib.IMAP4) -> None:
        mark, text = self._message("append")
        status, answer = client.append("INBOX", r"(\Seen)", "", text.replace("\n", "\r\n").encode())
        if status != "OK" or not (told := _APPENDED.search(answer[0])):
            return
        self.accepted.append(mark)
        self.uids["INBOX", int(told[1]), int(told[2])] = mark
        uid = told[2].decode()
        client.uid("STORE", uid, "+FLAGS", r"(\Flagged $Work)")
        match random.randrange(4):
            case 0:
                self._note_copy(client.uid("COPY", uid, "Box"), mark)
            case 1:
                self._note_copy(client.uid("MOVE", uid, "Box"), mark)
            case 2:
                self.removed.add(mark)
                client.uid("STORE", uid, "+FLAGS.SILENT", r"(\Deleted)")
                client.uid("EXPUNGE", uid)

    def _note_copy(self, answer: tuple[str, list[bytes]], mark: Mark) -> None:
        for line in answer[1]:
            if line and (told := _COPIED.search(line)):
                self.uids["Box", int(told[1]), int(told[3])] = mark

    def _pop(self) -> None:
        address = "dave@example.test"
        mark, text = self._message("pop")
        with smtplib.SMTP("127.0.0.1", self.instance.port, timeout=20) as smtp:
            smtp.sendmail("a@example.org", [address], text)
        self.accepted.append(mark)
        client = poplib.POP3("127.0.0.1", self.instance.ports["pop3"], timeout=20)
        with contextlib.closing(client):
            client.user(address)
            client.pass_(self.instance.credentials[address])
            for number in range(1, client.stat()[0] + 1):
                content = b"\n".join(client.retr(number)[1])
                for found in re.findall(rb"mark-pop-(\d+)-", content):
                    self.removed.add(("pop", int(found)))
                client.dele(number)
            client.quit()
        self._stop.wait(0.1)

    # -- the administrator -------------------------------------------------------------------------------------------

    def _postsuper(self) -> None:
        letters = random.choice((["-h", "ALL", "deferred"], ["-r", "ALL", "deferred"], ["-H", "ALL"]))
        self.instance.command("postsuper", *letters)
        self._stop.wait(0.5)

    def _password(self) -> None:
        new = secrets.token_hex(6)
        self.passwords_begun.append(new)
        done = self.instance.command("tubepost", "user", "passwd", "erin@example.test", "--stdin", input=new)
        if done.returncode == 0:
            self.passwords.append(new)
        self._stop.wait(0.1)

    def _table(self) -> None:
        """One table by postmap, and one by postalias: each of many values, all of one number."""
        number = self.tables_begun + 1
        for name, colon in (("built", ""), ("built-aliases", ":")):
            lines = [f"key{line}{colon} value{number}\n" for line in range(TABLE_KEYS)]
            self.instance.write_table(name, "".join(lines))
        self.tables_begun = number
        for command, name in (("postmap", "built"), ("postalias", "built-aliases")):
            if self.instance.command(command, f"hash:{self.instance.conf}/{name}").returncode:
                return
        self.tables = number
        self._stop.wait(0.1)

    def _alias(self) -> None:
        name = f"alias{len(self.aliases)}-{secrets.token_hex(3)}@example.test"
        done = self.instance.command("tubepost", "alias", "add", name, "alice@example.test")
        if done.returncode == 0:
            self.aliases.append(name)
        self._stop.wait(0.1)
