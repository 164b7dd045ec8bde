"""One imapd serves session after session of mixed work, over TLS, and takes no more memory after them than before.

With ``--soak`` a thousand of them, else three hundred.
"""

import email.message
import imaplib
import random
import ssl
import time

import pytest

from tests.fakes.instance import Instance
from tests.load.test_soak import share_of_memory

USERS = ("alice@example.test", "bob@example.test")
# Sessions, until all that is kept for the next ones is there.
WARM = 200
GROWTH = 1.05


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


@pytest.mark.timeout(0)
def test_sessions_leave_no_memory_behind(request: pytest.FixtureRequest) -> None:
    sessions = 1000 if request.config.getoption("--soak") else 300
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
            sizes.append(share_of_memory(pids[0]))
        early = max(sizes[WARM : WARM + sessions // 20])
        late = max(sizes[-(sessions // 20) :])
        print("KiB", sizes[:: sessions // 20], f"{100 * late / early - 100:+.1f} %")
        assert late <= early * GROWTH, f"{early} KiB became {late}"
        assert instance.pids("imapd") == pids
        assert not instance.log.count(r"panic|fatal|Traceback|was killed")
