"""One imapd serves session after session of mixed work, over TLS, and takes no more memory after them than before.

With ``--soak`` two thousand of them, else nine hundred.
"""

import email.message
import imaplib
import random
import ssl
import time
from pathlib import Path

import pytest

from tests.fakes.instance import Instance

USERS = ("alice@example.test", "bob@example.test")
# Sessions, until all that is kept for the next ones is there: the last arena (1 MiB) comes with the largest of many.
WARM = 600
GROWTH = 1.05


def own_memory(pid: int) -> int:
    """KiB that it has for itself: its share of what all have grows when another program ends."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_Dirty:"))


def session(instance: Instance, tls: ssl.SSLContext, user: str, chance: random.Random) -> None:
    with imaplib.IMAP4("127.0.0.1", instance.ports["imap"], timeout=30) as client:
        client.starttls(tls)
        client.login(user, instance.credentials[user])
        client.list()
        _, [count] = client.select("INBOX")
        note = email.message.EmailMessage()
        note["Subject"] = f"note {chance.randrange(1000)}"
        note.set_content("words to be searched for\n" * chance.choice((1, 20, 200, 10_000)))
        client.append("INBOX", "", imaplib.Time2Internaldate(time.time()), note.as_bytes())
        client.search(None, "TEXT", "searched")
        client.search(None, "FUZZY", "SUBJECT", '"note 1"')
        client.fetch("1:*", "(FLAGS ENVELOPE BODYSTRUCTURE)")
        client.fetch("*", "(BODY.PEEK[])")
        if int(count or b"0") > 10:
            client.copy("1", "Archive")
            client.store("1:5", "+FLAGS", "(\\Deleted)")
            client.expunge()
            _, [kept] = client.select("Archive")
            if int(kept or b"0") > 20:
                # What a mailbox needs grows with its mail: there is as much of it at the end as at the beginning.
                client.store("1:10", "+FLAGS", "(\\Deleted)")
                client.expunge()


@pytest.mark.timeout(0)
def test_sessions_leave_no_memory_behind(request: pytest.FixtureRequest) -> None:
    sessions = 2000 if request.config.getoption("--soak") else 900
    chance = random.Random(1)
    tls = ssl.create_default_context()
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    with Instance(services=("imap",)) as instance:
        sizes: list[int] = []
        for number in range(sessions):
            session(instance, tls, USERS[number % 2], chance)
            pids = instance.pids("imapd")
            assert len(pids) == 1, "more than one serves: this test shows nothing"
            sizes.append(own_memory(pids[0]))
        early = max(sizes[WARM : WARM + 50])
        late = max(sizes[-50:])
        print("KiB", sizes[:: sessions // 20], f"{100 * late / early - 100:+.1f} %")
        assert late <= early * GROWTH, f"{early} KiB became {late}"
        assert instance.pids("imapd") == pids
        assert not instance.log.count(r"panic|fatal|Traceback|was killed")
