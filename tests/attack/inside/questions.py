"""What a program that was taken over asks in good form, to be told what is not its own: by callee.

Each is one of the callee's own messages; whether the table allows it to the caller is the callee's business.
``secrets`` is what must stand in no answer.
"""

import base64
import itertools
import re
import sqlite3
from collections.abc import Iterable, Iterator

from tubepost.common.wire import (
    anvil,
    auth,
    bounce,
    delivery,
    flush,
    notify,
    proxymap,
    qmgr,
    rewrite,
    showq,
    trigger,
    verify,
)
from tubepost.common.wire.base import Message
from tubepost.common.wire.delivery import RecipientStatus
from tubepost.common.wire.envelope import Envelope, Recipient
from tubepost.common.bus import frames

from tests.attack.inside.hostile import LETTER, QUEUED, QUEUES, ROOT, SECRET, UNLISTED, Hostile

ALICE, BOB = "alice@example.test", "bob@example.test"
_ENVELOPE = Envelope(sender=ALICE, arrival_time=1.0)
# What can be a table, or is read line by line as one; none of them is to be opened for who asks.
_KINDS = ("texthash", "hash", "cdb", "lmdb", "regexp", "pcre", "cidr", "sqlite", "ldap", "pgsql", "accounts", "unix")


def _ids(hostile: Hostile) -> list[str]:
    """Queue ids that lead elsewhere, and that of another's mail."""
    above = ("../../auth/passwords.db", "../../auth/secret", "../../conf/tls.pem", "../../../../etc/shadow")
    return [*above, "/etc/shadow", *(f"../{queue}/secret-mail" for queue in QUEUES), QUEUED]


def _tables(hostile: Hostile) -> Iterator[str]:
    files = [
        str(hostile.instance.conf / "unlisted"),
        *("/etc/shadow", str(hostile.passwords), str(hostile.passwords.parent / "secret"), str(hostile.letter)),
        *(str(hostile.instance.conf / "tls.pem"), str(hostile.instance.root / "credentials.txt")),
        *(str(hostile.instance.spool / queue / "secret-mail") for queue in QUEUES),
        str(hostile.instance.spool / "hold" / QUEUED),
    ]
    for file in files:
        yield f"texthash:{file}"
        yield f"proxy:texthash:{file}"
        yield f"unionmap:{{texthash:{file}}}"
        yield f"pipemap:{{static:nobody, texthash:{file}}}"
        yield f"texthash:{hostile.instance.conf}/../{file.lstrip('/')}"
    for kind in _KINDS:
        yield f"{kind}:{hostile.passwords}"
        yield f"{kind}:{hostile.instance.spool}/hold/{QUEUED}"
    # The one that may be asked, with something behind it.
    listed = f"texthash:{hostile.instance.conf}/listed"
    yield from (f"{listed}/../../auth/passwords.db", f"{listed}\0", f"{listed} texthash:{hostile.passwords}")


def _auth(hostile: Hostile) -> Iterator[Message]:
    names = (ALICE, BOB, "nobody@example.test", "../../passwords", "' or 1=1 --", "*", "%", "x" * 4000)
    for name in names:
        yield auth.Lookup(name=name, scope="imap")
        yield auth.Lookup(name=name, scope="web")
    for tls in (False, True):
        yield auth.Mechanisms(scope="imap", tls=tls, client="192.0.2.1", binding=tls, certificate=tls)
    # Not those of the honest half of the same process.
    numbers = itertools.count(1_000_000)
    for name, mechanism in itertools.product(
        (ALICE, BOB, "' or 1=1 --"), ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "OAUTHBEARER")
    ):
        number = next(numbers)
        first = {
            "PLAIN": f"\0{name}\0wrong",
            "LOGIN": name,
            "OAUTHBEARER": f"n,a={name},\1auth=Bearer x.y.z\1\1",
        }.get(mechanism, f"n,,n={name.replace('=', '=3D')},r=abcdefghijklmnop")
        yield auth.Begin(
            exchange=number,
            scope="imap",
            service="imap",
            mechanism=mechanism,
            initial=first.encode(),
            client="192.0.2.1",
            tls=True,
        )
        for data in (
            b"wrong",
            f"{name} 0123456789abcdef0123456789abcdef".encode(),
            b"c=biws,r=abcdefghijklmnop,p=AAAA",
        ):
            yield auth.Continue(exchange=number, data=data)
        yield auth.Continue(exchange=number, data=None)


def _proxymap(hostile: Hostile) -> Iterator[Message]:
    yield proxymap.Lookup(table=f"texthash:{hostile.instance.conf}/listed", key="nobody")
    for table in _tables(hostile):
        for key in ("nobody", "root", ALICE):
            yield proxymap.Lookup(table=table, key=key)
        yield proxymap.Update(table=table, key="nobody", value="x")
        yield proxymap.Delete(table=table, key="nobody")


def _bounce(hostile: Hostile) -> Iterator[Message]:
    status = RecipientStatus(offset=1, status="bounced", dsn="5.0.0", text="x")
    entry = bounce.Entry(recipient=Recipient(address=BOB), status=status, action="failed", time=1.0)
    for identity in _ids(hostile):
        place = {"queue_id": identity, "envelope": _ENVELOPE, "content_offset": 0, "content_length": 100}
        # Not Append and Purge of mail that is there: who may do that could do it to all.
        yield bounce.Send.model_validate({"kind": "failure", **place})
        if identity != QUEUED:
            yield bounce.Purge(kind="trace", queue_id=identity)
            yield bounce.SendOne.model_validate({"kind": "failure", "entries": [entry], **place})


def _job(hostile: Hostile) -> Iterator[Message]:
    to = qmgr.QueuedRecipient(offset=1, recipient=Recipient(address="nobody-at-all@example.test"))
    for identity in _ids(hostile):
        yield delivery.Job(
            queue_id=identity,
            transport="x",
            nexthop="127.0.0.1:1",
            envelope=_ENVELOPE,
            content_offset=0,
            content_length=100,
            recipients=(to,),
            active_time=1.0,
            probe=True,
        )


def _qmgr(hostile: Hostile) -> Iterator[Message]:
    yield qmgr.Flush()
    yield qmgr.Scan(queue="deferred")
    yield trigger.Wake()
    for identity in _ids(hostile):
        yield qmgr.FlushMessage(queue_id=identity)


def _flush(hostile: Hostile) -> Iterator[Message]:
    for site in ("example.test", "[127.0.0.1]", *_ids(hostile)):
        yield flush.SendSite(site=site)
        yield flush.Add(site=site, queue_id=QUEUED)
    yield flush.Refresh()


def _addresses(hostile: Hostile) -> list[str]:
    paths = [
        f"{name}@example.test" for name in ("../../auth/passwords", f"|cat {hostile.passwords}", str(hostile.letter))
    ]
    return [ALICE, BOB, f":include:{hostile.passwords}", f'"{hostile.home}/secret"@example.test', *paths]


def _rewrite(hostile: Hostile) -> Iterator[Message]:
    for address in _addresses(hostile):
        yield rewrite.Rewrite(context="local", address=address)
        yield rewrite.Resolve(sender=address, address=address)
    yield rewrite.Batch(rewrites=(rewrite.Rewrite(context="remote", address=f"texthash:{hostile.passwords}"),))


def _verify(hostile: Hostile) -> Iterator[Message]:
    for address in _addresses(hostile):
        yield verify.Query(address=address)
    yield verify.Update(address=BOB, status="ok", reason="asked")


def _anvil(_: Hostile) -> Iterator[Message]:
    yield anvil.Connect(service="smtp", client="192.0.2.1")
    yield anvil.Count(service="smtp", client="192.0.2.1", event="auth")
    yield anvil.Serves(user=BOB, network="192.0.2.0/24", connections=0)


def _showq(_: Hostile) -> Iterator[Message]:
    yield showq.List()
    yield showq.List(queues=("hold", "../../auth", "../../home", "/etc"))


def _notify(hostile: Hostile) -> Iterator[Message]:
    yield notify.Subscribe()
    for mailbox in (str(hostile.letter.parents[1]), str(hostile.passwords.parent), "../../spool"):
        yield notify.Changed(mailbox=mailbox, folder="../../../active")


_BY_CALLEE = {
    "anvil": _anvil,
    "auth": _auth,
    "bounce": _bounce,
    "flush": _flush,
    "indexer": _notify,
    "notify": _notify,
    "pickup": lambda _: iter((trigger.Wake(),)),
    "proxymap": _proxymap,
    "qmgr": _qmgr,
    "rewrite": _rewrite,
    "showq": _showq,
    "verify": _verify,
    **dict.fromkeys(("local", "virtual", "smtp", "lmtp", "pipe", "error", "discard"), _job),
}
CALLEES = tuple(_BY_CALLEE)
HINTS = {"notify/1 Changed", "auth/1 Forget"}
"""Nobody answers to them."""
_KINDS_OF_CALL = {showq.List: frames.LISTING.decode(), notify.Subscribe: "endless"}


def questions(hostile: Hostile, callee: str) -> list[tuple[str, str]]:
    """(kind, text) each, for ``asking.converse``."""
    return [
        (_KINDS_OF_CALL.get(type(message), frames.CALL.decode()), frames.encode(message).decode())
        for message in _BY_CALLEE[callee](hostile)
    ]


# -- what is in no answer --------------------------------------------------------------------------------------------


def secrets(hostile: Hostile) -> dict[str, bytes]:
    """By what it is."""
    found = {
        "queue file, home": SECRET.split()[1],
        "a letter": LETTER.encode(),
        "a table": UNLISTED.encode(),
        "an argon2 hash": b"$argon2",
        "the private key": (hostile.instance.conf / "tls.pem").read_bytes().partition(b"PRIVATE KEY-----\n")[2][:64],
        "auth's secret": (hostile.passwords.parent / "secret").read_bytes(),
    }
    for name, password in hostile.instance.credentials.items():
        found[f"the password of {name}"] = password.encode()
    with sqlite3.connect(f"file:{hostile.passwords}?mode=ro", uri=True) as database:
        rows = database.execute("select name, hash, scram_sha_1, scram_sha_256 from passwords").fetchall()
    for name, argon, *scrams in rows:
        found[f"the hash of {name}"] = argon.rpartition("$")[2].encode()
        for scram in scrams:
            # SCRAM-SHA-256$4096:salt$StoredKey:ServerKey; who begins an exchange is told the salt.
            for number, key in enumerate(scram.rpartition("$")[2].split(":")):
                found[f"SCRAM key {number} of {name}, {scram.partition('$')[0]}"] = key.encode()
    if ROOT:
        with open("/etc/shadow", "rb") as file:
            found |= {f"/etc/shadow, line {n}": line.strip() for n, line in enumerate(file, 1)}
    assert all(len(secret) >= 7 for secret in found.values()), found
    return found


_CODED = re.compile(rb"[A-Za-z0-9+/_-]{8,}")


def _decoded(word: bytes) -> bytes:
    whole = word[: len(word) - (len(word) % 4 == 1)]
    return base64.b64decode(whole.translate(bytes.maketrans(b"-_", b"+/")) + b"==")


def leaks(answers: Iterable[str], kept: dict[str, bytes]) -> list[str]:
    """Which of the secrets stand in the answers: as they are, in base64 or in hexadecimal digits."""
    text = "\n".join(answers).encode()
    everything = b"\n".join((text, *map(_decoded, _CODED.findall(text))))
    return [what for what, secret in kept.items() if secret in everything or secret.hex().encode() in text]
