"""Everybody else while somebody hangs: a client of each of our servers that is served within two seconds."""

import imaplib
import itertools
import poplib
import smtplib
import time
from collections.abc import Callable

from tests.fakes.instance import Instance
from tests.fault.invariants import Mark

WITHIN = 2.0
ALICE = "alice@example.test"


class Others:
    """Of an instance with ``ports`` of imap, pop3 and lmtp. ``accepted``: marks that were answered with a yes."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._numbers = itertools.count(1)
        self.accepted: list[Mark] = []

    def call(self) -> None:
        """One of each. Raises AssertionError."""
        works: tuple[Callable[[], None], ...] = (self._smtp, self._lmtp, self._imap, self._pop3)
        for work in works:
            begun = time.monotonic()
            work()
            took = time.monotonic() - begun
            assert took < WITHIN, f"{work.__name__[1:]} took {took:.1f} s: who hangs holds up others"

    def _message(self, kind: str) -> tuple[Mark, str]:
        number = next(self._numbers)
        return (kind, number), f"Subject: x\n\nmark-{kind}-{number}-\nend\n"

    def _smtp(self) -> None:
        mark, text = self._message("smtp")
        self._instance.send(ALICE, text)
        self.accepted.append(mark)

    def _lmtp(self) -> None:
        mark, text = self._message("lmtp")
        with smtplib.LMTP("127.0.0.1", self._instance.ports["lmtp"], timeout=20) as client:
            client.sendmail("a@example.org", [ALICE], text)
        self.accepted.append(mark)

    def _imap(self) -> None:
        mark, text = self._message("imap")
        with imaplib.IMAP4("127.0.0.1", self._instance.ports["imap"], timeout=20) as client:
            client.login(ALICE, self._instance.credentials[ALICE])
            assert client.append("INBOX", "", "", text.replace("\n", "\r\n").encode())[0] == "OK"
            self.accepted.append(mark)
            assert client.select("INBOX")[0] == "OK"
            assert client.fetch("*", "(BODY.PEEK[])")[0] == "OK"

    def _pop3(self) -> None:
        client = poplib.POP3("127.0.0.1", self._instance.ports["pop3"], timeout=20)
        client.user(ALICE)
        client.pass_(self._instance.credentials[ALICE])
        assert client.stat()[0] > 0
        client.retr(1)
        client.quit()
