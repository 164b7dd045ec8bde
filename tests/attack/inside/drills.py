"""What a program that was taken over does in a drill, and how it is seen that others are served meanwhile.

A ``Drill`` is a row: who is taken over, and what it says, in good form, besides nonsense. What it must not read follows
from its row in the table of programs.
"""

import imaplib
import os
import smtplib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from tubepost.common.wire.programs import CALLS, PROGRAMS, USER

from tests.attack.inside.hostile import DENIED, QUEUES, ROOT, Hostile
from tests.fakes.instance import PATIENCE

ALICE, BOB = "alice@example.test", "bob@example.test"
# Queue ids that lead elsewhere, and one that is nobody's.
_IDS = ("../../auth/passwords.db", "../active/secret-mail", "/etc/passwd", "4XYZ1234567890")


@dataclass(frozen=True)
class Drill:
    program: str
    said: tuple[str, ...] = ()
    """Wire name and JSON."""


def _each(name: str, text: str) -> tuple[str, ...]:
    return tuple(f"{name}\n{text % identity}" for identity in _IDS)


_ENVELOPE = '{"sender":"a@b.test","arrival_time":1.0}'
_LOOKUPS = ('proxymap/1 Lookup\n{"table":"texthash:/etc/passwd","key":"root"}',)
_REWRITES = ('rewrite/1 Rewrite\n{"context":"local","address":"a@b"}',)
_GUESSES = tuple(
    f'auth/1 Lookup\n{{"name":"{name}","scope":"{scope}"}}'
    for name in (ALICE, "../../passwords", "x" * 5000)
    for scope in ("imap", "nonsense")
)
_NEWS = tuple(
    f'notify/1 Changed\n{{"mailbox":"{mailbox}","folder":"{folder}"}}'
    for mailbox, folder in ((ALICE, "INBOX"), ("../../spool", "../../../active"), ("x" * 900, "y" * 900))
)
DRILLS = (
    Drill("smtpd", (*_REWRITES, *_LOOKUPS, *_GUESSES, *_each("qmgr/1 FlushMessage", '{"queue_id":"%s"}'))),
    Drill("imapd", (*_GUESSES, *_NEWS)),
    # It has to answer everybody's logins meanwhile.
    Drill("auth", _LOOKUPS),
    Drill(
        "cleanup",
        (
            *_REWRITES,
            *_LOOKUPS,
            *_each("bounce/1 Append", '{"kind":"bounce","queue_id":"%s","entries":[]}'),
            *_each("bounce/1 Purge", '{"kind":"defer","queue_id":"%s"}'),
            *_each(
                "qmgr/1 Arrived",
                '{"queue_id":"%s","envelope":'
                + _ENVELOPE
                + ',"content_offset":0,"content_length":9,"recipient_count":1000000000}',
            ),
        ),
    ),
    Drill(
        "qmgr",
        (
            *_REWRITES,
            *_LOOKUPS,
            *_each("flush/1 Add", '{"site":"../../active/x","queue_id":"%s"}'),
            *_each("bounce/1 Purge", '{"kind":"defer","queue_id":"%s"}'),
            *_each(
                "delivery/1 Job",
                '{"queue_id":"%s","transport":"virtual","nexthop":"example.test","envelope":'
                + _ENVELOPE
                + ',"content_offset":0,"content_length":9,"active_time":1.0,"recipients":'
                '[{"offset":1,"recipient":{"address":"../../../etc/x@example.test"}}]}',
            ),
        ),
    ),
)


def nonsense(program: str) -> Iterator[str]:
    """Every message that it may send, malformed; one that is not known, and what is none."""
    for callee, messages in PROGRAMS[program].calls.items():
        for message in messages:
            wire = next(name.decode() for name in CALLS[callee] if name.endswith(b" " + message.__name__.encode()))
            yield wire + '\n{"attack":1}'
    yield "cleanup/1 Nonsense\n{}"
    yield "x" * 10_000


def stolen(hostile: Hostile, program: str) -> list[str]:
    """What it could read or list of what is none of its business; and what is there and was not refused for that."""
    row = PROGRAMS[program]
    line = hostile.line(program) if program != USER else hostile.person()
    secret = {
        "a home": ("read_file", str(hostile.home / "secret")),
        "a home's names": ("list_directory", str(hostile.home)),
    }
    if ROOT:
        secret["root's"] = "list_directory", "/root"
    for queue in QUEUES:
        if queue not in (*row.reads, *row.writes):
            secret[queue] = "list_directory", str(hostile.instance.spool / queue)
            secret[f"mail in {queue}"] = "read_file", str(hostile.plant(queue))
    if row.account != "mailboxes":
        secret["a letter"] = "read_file", str(hostile.letter)
        secret["a mailbox"] = "list_directory", str(hostile.letter.parent)
    if row.account != "auth":
        secret["the passwords"] = "read_file", str(hostile.passwords)
        secret["auth's secret"] = "read_file", str(hostile.passwords.parent / "secret")
    if hostile.apart:
        secret["the private key"] = "read_file", str(hostile.instance.conf / "tls.pem")
    found = []
    for what, (attempt, path) in secret.items():
        assert os.path.exists(path), path
        outcome = line.order(attempt, path=path)
        if outcome["outcome"] != "refused" or outcome["errno"] not in DENIED:
            found.append(f"{what}: {outcome}")
    return found


def submit(hostile: Hostile, subject: str) -> None:
    """From alice to bob, as a mail program does it. Raises smtplib.SMTPException, OSError."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", hostile.instance.ports["submission"], timeout=PATIENCE) as client:
        client.starttls(context=context)
        client.login(ALICE, hostile.instance.credentials[ALICE])
        client.sendmail(ALICE, [BOB], f"Subject: {subject}\n\nx\n")


def read(hostile: Hostile, subject: str, user: str = BOB) -> bool:
    """Is it in the mailbox, whole? As a mail program does it. Raises imaplib.IMAP4.error, OSError."""
    client = imaplib.IMAP4("127.0.0.1", hostile.instance.ports["imap"], timeout=PATIENCE)
    client.login(user, hostile.instance.credentials[user])
    client.select()
    _, (numbers,) = client.search(None, f'SUBJECT "{subject}"')
    found = [client.fetch(number.decode(), "(BODY.PEEK[])")[1] for number in numbers.split()]
    client.logout()
    return len(found) == 1 and subject.encode() in found[0][0][1]  # type: ignore[index, operator]


def others_are_served(hostile: Hostile, subject: str) -> None:
    """A message goes from one person to another, who reads it."""
    before = len(hostile.instance.log.lines)
    submit(hostile, subject)
    hostile.instance.log.wait(r"to=<bob@example.test>.*status=sent", start=before)
    assert read(hostile, subject)
