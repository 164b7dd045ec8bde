"""Our LMTP client hands mail to Dovecot's LMTP server, over TCP and over a UNIX socket."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.dovecot import Dovecot
from tests.fakes.instance import Instance, free_port

USABLE = os.path.exists("/usr/lib/dovecot/lmtp") and os.geteuid() == 0
pytestmark = pytest.mark.skipif(not USABLE, reason="needs Debian's dovecot-lmtpd, and root to start it")
PORT = free_port()
_LMTP = """
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
  unix_listener {root}/lmtp {{
    mode = 0666
  }}
}}
protocol lmtp {{
  postmaster_address = postmaster@example.test
}}
recipient_delimiter = +
"""


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    root = Path(tempfile.mkdtemp(prefix="dc-", dir="/tmp"))
    root.chmod(0o755)
    made = Dovecot(root, extra="lmtp", more=_LMTP.format(port=PORT, root=root))
    made.start()
    yield made
    made.stop()
    shutil.rmtree(root, ignore_errors=True)


def _new(dovecot: Dovecot, user: str) -> list[bytes]:
    folder = dovecot.mailbox(user) / "new"
    return [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []


@pytest.mark.parametrize("way", ["inet", "unix"])
def test_dovecot_takes_our_mail(dovecot: Dovecot, way: str) -> None:
    where = f"inet:127.0.0.1:{PORT}" if way == "inet" else f"unix:{dovecot.root.parent}/lmtp"
    with Instance(main={"virtual_transport": f"lmtp:{where}"}) as instance:
        content = f"Subject: by {way}\r\n\r\n.dot\r\n"
        instance.send(["alice@example.test", "bob@example.test"], content)
        instance.log.wait(r"postfix/lmtp\[\d+\]: \w+: to=<alice@example\.test>, relay=.*dsn=2\.0\.0, status=sent")
        instance.log.wait(r"postfix/lmtp\[\d+\]: \w+: to=<bob@example\.test>, relay=.*dsn=2\.0\.0, status=sent")
    for user in ("alice@example.test", "bob@example.test"):
        (found,) = [text for text in _new(dovecot, user) if f"Subject: by {way}".encode() in text]
        assert found.endswith(b"\n\n.dot\n")
        assert found.startswith(b"Return-Path: <a@example.org>\n")


def test_each_recipient_has_an_end_of_its_own(dovecot: Dovecot) -> None:
    with Instance(main={"virtual_transport": f"lmtp:inet:127.0.0.1:{PORT}"}) as instance:
        # A mailbox that cannot be written to is refused behind the content, for that recipient alone.
        box = dovecot.mailbox("bob@example.test")
        instance.send(["bob@example.test"])  # Dovecot makes it, as the account that it delivers as
        instance.log.wait(r"to=<bob@example\.test>, relay=.*status=sent")
        before = len(_new(dovecot, "alice@example.test"))
        os.rename(box, f"{box}.aside")
        box.write_text("no directory")
        try:
            instance.send(["alice@example.test", "bob@example.test"])
            instance.log.wait(r"to=<alice@example\.test>, relay=.*status=sent")
            instance.log.wait(r"to=<bob@example\.test>, relay=.*dsn=4\.\d\.\d, status=deferred \(host .* said: 4\d\d ")
        finally:
            box.unlink()
            os.rename(f"{box}.aside", box)
        assert len(_new(dovecot, "alice@example.test")) == before + 1
