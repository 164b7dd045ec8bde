"""A Maildir that Dovecot has served over POP3 is served on: the same unique ids, so nobody fetches all mail again."""

import os
import poplib
import shutil
import tempfile
from pathlib import Path

import pytest

from bench.dovecot import PASSWORD, Dovecot
from tests.fakes.instance import PATIENCE, Instance

ALICE = "alice@example.test"
USABLE = os.path.exists("/usr/lib/dovecot/pop3") and os.geteuid() == 0
pytestmark = pytest.mark.skipif(not USABLE, reason="needs Debian's dovecot-pop3d, and root to start it")


def _session(port: int, password: str, *, delete: int = 0) -> tuple[list[bytes], list[bytes]]:
    """What UIDL and LIST say."""
    client = poplib.POP3("127.0.0.1", port, timeout=PATIENCE)
    client.user(ALICE)
    client.pass_(password)
    ids, sizes = client.uidl()[1], client.list()[1]
    if delete:
        client.dele(delete)
    client.quit()
    return ids, sizes


def test_the_ids_stay_what_they_were() -> None:
    root = Path(tempfile.mkdtemp(prefix="dc-", dir="/tmp"))
    root.chmod(0o755)
    try:
        dovecot = Dovecot(root)
        box = dovecot.mailbox(ALICE)
        for part in ("tmp", "new", "cur"):
            (box / part).mkdir(parents=True)
        for number in range(12):
            (box / "new" / f"{1795550000 + number}.M1P1.host").write_bytes(
                b"Subject: %d\n\n" % number + b"x\n" * number
            )
        for path in [box.parent, box, *box.rglob("*")]:
            os.chown(path, 65534, 65534)
        dovecot.start()
        _session(dovecot.ports["pop3"], PASSWORD, delete=3)
        before = _session(dovecot.ports["pop3"], PASSWORD)
        with Instance(services=("pop3",)) as instance:
            ours = instance.mail / "example.test" / "alice"
            ours.parent.mkdir(exist_ok=True)
            shutil.copytree(box, ours)
            owner = instance.mail.stat()
            for path in [ours.parent, ours, *ours.rglob("*")]:
                os.chown(path, owner.st_uid, owner.st_gid)
            assert len(before[0]) == 11
            assert _session(instance.ports["pop3"], instance.credentials[ALICE]) == before
        dovecot.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)
