"""tubepost mailbox import from Debian's Dovecot, over IMAP with TLS and without, and what each writes for the other."""

import imaplib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tubepost.common.accounts.hashing import Cost
from tubepost.common.config.instance import write_instance
from tubepost.common.net import selfsigned

from tests.fakes.instance import PATIENCE, free_port
from tubepost.commands.tubepost import main

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("dovecot") is None or not os.path.exists("/usr/lib/dovecot/imap"),
    reason="needs root and dovecot-imapd",
)

USER, PASSWORD = "alice@old.test", "pass word"
ALICE = "alice@example.test"
_UID = 65534
_CONF = """
base_dir = {root}/run
state_dir = {root}/state
log_path = {root}/dovecot.log
protocols = imap
listen = 127.0.0.1
ssl = {tls}
ssl_cert = <{root}/cert.pem
ssl_key = <{root}/key.pem
disable_plaintext_auth = no
auth_mechanisms = {mechanisms}
mail_location = {location}
first_valid_uid = 100
mail_uid = {uid}
mail_gid = {uid}
default_login_user = dovenull
default_internal_user = dovecot
namespace inbox {{
  inbox = yes
  prefix = {prefix}
  separator = {separator}
  mailbox Sent {{
    auto = create
    special_use = \\Sent
  }}
  mailbox Virtual/All {{
    auto = create
    special_use = \\All
  }}
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {root}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={uid} home={root}/mail/%u
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
"""


class Dovecot:
    def __init__(self, *, layout: str, tls: str = "yes", prefix: str = "", separator: str = "/") -> None:
        self.root = Path(tempfile.mkdtemp(prefix="dc-"))
        self.root.chmod(0o755)
        for folder in ("run", "state", "mail"):
            (self.root / folder).mkdir()
        os.chown(self.root / "mail", _UID, _UID)
        key, certificate = selfsigned.make(["localhost"], ["127.0.0.1"])
        (self.root / "key.pem").write_bytes(key)
        (self.root / "cert.pem").write_bytes(certificate)
        (self.root / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
        self.imap, self.imaps = free_port(), free_port()
        conf = _CONF.format(
            root=self.root,
            uid=_UID,
            # In clear it is SCRAM that is taken.
            mechanisms="plain scram-sha-256",
            tls=tls,
            prefix=prefix,
            separator=separator,
            imap=self.imap,
            imaps=self.imaps,
            location=layout.format(root=self.root),
        )
        (self.root / "dovecot.conf").write_text(conf)

    def __enter__(self) -> "Dovecot":
        self._process = subprocess.Popen(
            ["dovecot", "-F", "-c", str(self.root / "dovecot.conf")], start_new_session=True
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.log_in().logout()
                return self
            except OSError:
                assert time.monotonic() < deadline, (self.root / "dovecot.log").read_text()
                time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)
        shutil.rmtree(self.root)

    def log_in(self) -> imaplib.IMAP4:
        client = imaplib.IMAP4("127.0.0.1", self.imap, PATIENCE)
        client.login(USER, PASSWORD)
        return client


@pytest.fixture
def system() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="tp-"))
    root.chmod(0o755)
    write_instance(str(root), cost=Cost(memory=8, time=1, iterations=4096))
    yield root
    shutil.rmtree(root)


def mailbox(system: Path, *words: str, text: str = "", status: int = 0) -> str:
    result = CliRunner().invoke(main, ["-c", str(system / "conf"), "mailbox", *words], input=text)
    assert result.exit_code == status, result.output
    return result.output


_FOLDERS = ("INBOX", "Sent", "Entw&APw-rfe", "Work/Plans")


def fill(server: Dovecot, prefix: str, separator: str) -> None:
    client = server.log_in()
    for number, folder in enumerate(_FOLDERS):
        name = folder if folder == "INBOX" else prefix + folder.replace("/", separator)
        client.create(f'"{name}"')
        client.subscribe(f'"{name}"')
        for one in range(3 + number):
            status, _ = client.append(
                f'"{name}"',
                ("", "(\\Seen)", "(\\Answered \\Flagged $Label1 NonJunk)", "(\\Draft \\Deleted)")[one % 4],
                f'" 3-Feb-2021 10:0{number}:0{one} +0200"',
                b"From: a@b.test\r\nSubject: %d in %b\r\nMessage-ID: <%d.%d@x.test>\r\n\r\n)\r\nt1 OK\r\n{3}\r\n%b\r\n"
                % (one, folder.encode(), number, one, b"z" * (one * 70_000)),
            )
            assert status == "OK"
    client.append(f'"{prefix}Sent"', "", '" 3-Feb-2021 10:00:00 +0200"', b"")
    client.logout()


@pytest.mark.parametrize(
    ("tls", "prefix", "separator", "layout", "how"),
    [
        ("yes", "", "/", "maildir:{root}/mail/%u", "imaps"),
        ("yes", "INBOX.", ".", "maildir:{root}/mail/%u", "imap"),
        ("no", "", "/", "sdbox:{root}/mail/%u", "imap"),
    ],
)
def test_import_over_imap(system: Path, tls: str, prefix: str, separator: str, layout: str, how: str) -> None:
    with Dovecot(tls=tls, prefix=prefix, separator=separator, layout=layout) as server:
        fill(server, prefix, separator)
        port = server.imap if how == "imap" else server.imaps
        address = f"{how}://{USER}@127.0.0.1:{port}"
        certificate = str(server.root / "cert.pem")
        words = ("import", ALICE, address, "--stdin", "--ca-file", certificate)
        if how == "imaps":
            assert "refuses" in mailbox(system, *words, text="wrong\n", status=69)
        said = mailbox(system, *words, text=f"{PASSWORD}\n")
        found = {facts["folder"]: facts for facts in json.loads(mailbox(system, "list", ALICE, "--json"))}
        assert {name: facts["messages"] for name, facts in found.items()} == {
            "INBOX": 3,
            "Sent": 4 + ("Sent: 5 messages" in said),
            "Entwürfe": 5,
            "Work/Plans": 6,
        }, said
        assert found["Sent"]["special_use"] == ["\\Sent"]
        assert found["Work/Plans"]["subscribed"]
        for name in ("INBOX", "Entw&APw-rfe", "Work/Plans"):
            _compare(system, server, name, prefix + name.replace("/", separator) if name != "INBOX" else name)
        again = mailbox(system, *words, text=f"{PASSWORD}\n")
        assert again.count(" 0 messages brought") == 4, again


def _compare(system: Path, server: Dovecot, name: str, there: str) -> None:
    """Messages, flags and dates are the same here and there."""
    client = server.log_in()
    client.select(f'"{there}"', readonly=True)
    answer = client.fetch("1:*", "(INTERNALDATE FLAGS BODY.PEEK[])")[1]
    theirs = []
    for item in answer:
        if isinstance(item, tuple):
            date = imaplib.Internaldate2tuple(item[0])
            assert date is not None
            flags = {flag.decode() for flag in imaplib.ParseFlags(item[0])} - {"\\Recent"}
            theirs.append((int(time.mktime(date)), flags, item[1].replace(b"\r\n", b"\n").decode()))
    client.logout()
    folder = "Entwürfe" if name.startswith("Entw") else name
    ours = [
        (facts["internaldate"], set(facts["flags"]), facts["content"])
        for facts in json.loads(mailbox(system, "fetch", ALICE, "-f", folder, "all", "--message", "--json"))
    ]
    assert ours == theirs


def test_dovecot_reads_our_maildir_and_we_read_its(system: Path) -> None:
    with Dovecot(layout="maildir:{root}/mail/%u") as server:
        fill(server, "", "/")
        root = server.root / "mail" / USER
        mailbox(system, "import", ALICE, str(root))
        for name in ("INBOX", "Entw&APw-rfe", "Work/Plans"):
            _compare(system, server, name, name)
        # And back: what we write is what Dovecot reads.
        mailbox(system, "export", ALICE, str(server.root / "out"), "--format", "maildir")
        shutil.rmtree(root)
        shutil.copytree(server.root / "out", root)
        for path, folders, files in os.walk(root):
            for one in (path, *(os.path.join(path, name) for name in (*folders, *files))):
                os.chown(one, _UID, _UID)
        client = server.log_in()
        folders = [line.decode().rpartition(" ")[2] for line in client.lsub()[1] if isinstance(line, bytes)]
        assert {"INBOX", "Work/Plans"} <= {name.strip('"') for name in folders}
        client.logout()
        for name in ("INBOX", "Entw&APw-rfe", "Work/Plans"):
            _compare(system, server, name, name)


def test_dovecot_reads_our_mbox_and_we_read_its(system: Path) -> None:
    with Dovecot(layout="mbox:{root}/mail/%u:INBOX={root}/mail/%u/inbox") as server:
        client = server.log_in()
        client.append("INBOX", "(\\Seen)", '" 3-Feb-2021 10:00:00 +0000"', b"Message-ID: <1@x>\r\n\r\nFrom me\r\n")
        client.append("INBOX", "(\\Flagged $Label1)", '" 4-Feb-2021 10:00:00 +0000"', b"Message-ID: <2@x>\r\n\r\nb\r\n")
        client.append("INBOX", "(\\Answered)", '" 5-Feb-2021 10:00:00 +0000"', b"Message-ID: <3@x>\r\n\r\nc\r\n")
        client.logout()
        mailbox(system, "import", ALICE, str(server.root / "mail" / USER / "inbox"))
        _compare(system, server, "INBOX", "INBOX")
        # Dovecot takes no ">" off, and no keywords over that it does not know: all else is the same.
        mailbox(system, "expunge", ALICE, "-f", "INBOX", "uid", "1:2")
        mailbox(system, "export", ALICE, str(server.root / "out"))
        shutil.copy(server.root / "out" / "INBOX.mbox", server.root / "mail" / USER / "again")
        os.chown(server.root / "mail" / USER / "again", _UID, _UID)
        _compare(system, server, "INBOX", "again")
