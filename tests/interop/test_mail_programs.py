"""Programs that people fetch and read their mail with: fetchmail, getmail6, mbsync, offlineimap3, s-nail, mutt."""

import imaplib
import os
import poplib
import pwd
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.instance import PATIENCE, Instance

ALICE = "alice@example.test"
USER = ALICE.replace("@", "%40")
SUBJECTS = ("first", "Grüße", "third")


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    with Instance(services=("imap", "imaps", "pop3", "pop3s")) as made:
        yield made


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program, path="/usr/bin") is None, reason=f"needs {program}")


@pytest.fixture
def home() -> Iterator[Path]:
    """Of an ordinary user: getmail delivers nothing as root."""
    path = Path(tempfile.mkdtemp(prefix="tp-mail-", dir="/tmp"))
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def password(instance: Instance) -> str:
    """The INBOX has three messages afterwards, the second flagged; Work has one."""
    imap = _imap(instance)
    for name in (b"INBOX", b"Work"):
        imap.create(name.decode())
        if imap.select(name.decode())[1] != [b"0"]:
            imap.store("1:*", "+FLAGS.SILENT", "\\Deleted")
            imap.expunge()
    for number, subject in enumerate(SUBJECTS):
        imap.append("INBOX", "\\Flagged" if number == 1 else "", "", _message(number, subject))
    imap.append("Work", "\\Seen", "", _message(9, "at work"))
    imap.logout()
    return instance.credentials[ALICE]


def _imap(instance: Instance) -> imaplib.IMAP4:
    imap = imaplib.IMAP4("127.0.0.1", instance.ports["imap"], timeout=PATIENCE)
    imap.login(ALICE, instance.credentials[ALICE])
    return imap


def _message(number: int, subject: str) -> bytes:
    words = subject if subject.isascii() else "=?utf-8?q?Gr=C3=BC=C3=9Fe?="
    return (
        f"From: a@b.test\r\nTo: {ALICE}\r\nSubject: {words}\r\nMessage-ID: <{number}@b.test>\r\n"
        f"Date: Tue, 24 Nov 2026 10:00:0{number} +0000\r\n\r\n.dot {number}\r\nFrom here\r\n"
    ).encode()


def run(home: Path, *words: str, codes: tuple[int, ...] = (0,)) -> str:
    """As an ordinary user; what it printed. Its input stays open: on a terminal its end would be a key."""
    account = "nobody" if os.geteuid() == 0 else None
    silent, held = os.pipe()
    with os.fdopen(silent), os.fdopen(held, "w"):
        return _run(home, words, codes, account, silent)


def _run(home: Path, words: tuple[str, ...], codes: tuple[int, ...], account: str | None, silent: int) -> str:
    done = subprocess.run(
        words,
        stdin=silent,
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), "TERM": "vt100", "LC_ALL": "C.UTF-8"},
        cwd=home,
        user=account,
        group="nogroup" if account else None,
        extra_groups=[] if account else None,
        capture_output=True,
        text=True,
        timeout=30,
    )
    output = done.stdout + done.stderr
    assert done.returncode in codes, output
    return output


def write(home: Path, name: str, text: str) -> str:
    path = home / name
    path.write_text(text)
    path.chmod(0o600)
    if os.geteuid() == 0:
        shutil.chown(path, "nobody", "nogroup")
    return str(path)


def make(home: Path, *names: str) -> None:
    for name in names:
        (home / name).mkdir(parents=True)
        if os.geteuid() == 0:
            for path in (home / name, *(home / name).parents):
                if path == home or home not in (path, *path.parents):
                    break
                shutil.chown(path, "nobody", "nogroup")


def left(instance: Instance) -> int:
    """Messages in the INBOX."""
    imap = _imap(instance)
    count = int(imap.select(readonly=True)[1][0] or b"0")
    imap.logout()
    return count


# -- fetchmail --------------------------------------------------------------------------------------------------------


@needs("fetchmail")
@pytest.mark.parametrize("door", ["pop3", "pop3s", "imap", "imaps", "pop3 starttls", "imap starttls"])
def test_fetchmail(instance: Instance, home: Path, password: str, door: str) -> None:
    service, _, starttls = door.partition(" ")
    protocol = service.rstrip("s")
    tls = (
        "ssl no sslcertck"
        if service.endswith("s")
        else 'sslproto "tls1.2+" no sslcertck'
        if starttls
        else "sslproto ''"
    )
    server = f"poll 127.0.0.1 port {instance.ports[service]} protocol {protocol}{' uidl' if protocol == 'pop3' else ''}"
    user = f'username "{ALICE}" password "{password}" {tls} mda "cat >> {home}/got"'
    options = ("--nodetach", "--pidfile", str(home / "pid"), "--idfile", str(home / "ids"))
    for code in (0, 1):
        # The second time it has them all, by UIDL or by \\Seen, and says so by its exit status.
        run(home, "fetchmail", "-f", write(home, "rc", f"{server} {user} keep\n"), *options, codes=(code,))
        assert (home / "got").read_text().count("\nFrom here") == 3
        assert left(instance) == 3
    run(home, "fetchmail", "-f", write(home, "rc", f"{server} {user} fetchall nokeep\n"), *options)
    assert left(instance) == 0


# -- getmail ----------------------------------------------------------------------------------------------------------


@needs("getmail")
@pytest.mark.parametrize("kind", ["POP3", "POP3SSL", "IMAP", "IMAPSSL"])
def test_getmail(instance: Instance, home: Path, password: str, kind: str) -> None:
    make(home, "box/tmp", "box/new", "box/cur")
    port = instance.ports[{"POP3": "pop3", "POP3SSL": "pop3s", "IMAP": "imap", "IMAPSSL": "imaps"}[kind]]
    text = (
        f"[retriever]\ntype = Simple{kind}Retriever\nserver = 127.0.0.1\nport = {port}\nusername = {ALICE}\n"
        f"password = {password}\n[destination]\ntype = Maildir\npath = {home}/box/\n[options]\nread_all = false\n"
    )
    for _ in range(2):
        # The second time it fetches nothing: the ids are what they were.
        run(home, "getmail", "--getmaildir", str(home), "--rcfile", write(home, "rc", text))
        files = list((home / "box/new").iterdir())
        assert len(files) == 3
    assert sorted(path.read_text().rpartition("\n\n")[2] for path in files) == [
        f".dot {number}\nFrom here\n" for number in range(3)
    ]
    text = text.replace("read_all = false", "read_all = true\ndelete = true")
    run(home, "getmail", "--getmaildir", str(home), "--rcfile", write(home, "rc", text))
    assert left(instance) == 0


# -- mbsync -----------------------------------------------------------------------------------------------------------


def _mbsync(home: Path, instance: Instance, password: str) -> str:
    return write(
        home,
        "mbsyncrc",
        f"IMAPAccount account\nHost 127.0.0.1\nPort {instance.ports['imap']}\nUser {ALICE}\nPass {password}\n"
        "SSLType None\nAuthMechs LOGIN\n\nIMAPStore remote\nAccount account\n\n"
        f"MaildirStore local\nPath {home}/mail/\nInbox {home}/mail/INBOX\nSubFolders Verbatim\n\n"
        "Channel all\nFar :remote:\nNear :local:\nPatterns INBOX Work New\nCreate Both\nExpunge Both\nSyncState *\n",
    )


@needs("mbsync")
def test_mbsync_both_ways(instance: Instance, home: Path, password: str) -> None:
    make(home, "mail")
    rc = _mbsync(home, instance, password)
    run(home, "mbsync", "-c", rc, "all")
    inbox = home / "mail/INBOX"
    files = sorted(path for part in ("new", "cur") for path in (inbox / part).iterdir())
    assert len(files) == 3
    assert sum(path.name.endswith(":2,F") for path in files) == 1
    assert len(list((home / "mail/Work/cur").iterdir())) == 1
    # Changes on both sides: one is answered here, one is removed there, one comes here, one comes there.
    first = next(path for path in files if "first" in path.read_text())
    first.rename(inbox / "cur" / f"{first.name.partition(':')[0]}:2,RS")
    (inbox / "new" / "1795558000.fresh.host").write_bytes(_message(5, "from here").replace(b"\r\n", b"\n"))
    if os.geteuid() == 0:
        shutil.chown(inbox / "new" / "1795558000.fresh.host", "nobody", "nogroup")
    make(home, "mail/New/tmp", "mail/New/new", "mail/New/cur")
    imap = _imap(instance)
    imap.select()
    (numbers,) = imap.search(None, "SUBJECT", "third")[1]
    imap.store(numbers.decode(), "+FLAGS", "\\Deleted")
    imap.expunge()
    imap.append("INBOX", "", "", _message(6, "from there"))
    imap.logout()
    run(home, "mbsync", "-c", rc, "all")
    run(home, "mbsync", "-c", rc, "all")
    texts = [path.read_text() for part in ("new", "cur") for path in (inbox / part).iterdir() if "T" not in path.suffix]
    assert sorted(line for text in texts for line in text.split("\n") if line.startswith("Subject: f")) == [
        "Subject: first",
        "Subject: from here",
        "Subject: from there",
    ]
    imap = _imap(instance)
    assert imap.select() == ("OK", [b"4"])
    assert imap.search(None, "ANSWERED")[1] != [b""]
    assert imap.search(None, "SUBJECT", "third")[1] == [b""]
    assert imap.search(None, "SUBJECT", '"from here"')[1] != [b""]
    assert imap.select("New")[0] == "OK"
    imap.logout()


# -- offlineimap ------------------------------------------------------------------------------------------------------


@needs("offlineimap")
def test_offlineimap_both_ways(instance: Instance, home: Path, password: str) -> None:
    rc = write(
        home,
        "rc",
        f"[general]\naccounts = a\nmetadata = {home}/meta\nui = basic\n[Account a]\nlocalrepository = l\n"
        f"remoterepository = r\n[Repository l]\ntype = Maildir\nlocalfolders = {home}/mail\n[Repository r]\n"
        f"type = IMAP\nremotehost = 127.0.0.1\nremoteport = {instance.ports['imap']}\nremoteuser = {ALICE}\n"
        f"remotepass = {password}\nssl = no\nstarttls = no\nfolderfilter = lambda name: name in ('INBOX', 'Work')\n",
    )
    run(home, "offlineimap", "-c", rc, "-o")
    inbox = home / "mail/INBOX"
    files = [path for part in ("new", "cur") for path in (inbox / part).iterdir()]
    assert len(files) == 3
    first = next(path for path in files if "first" in path.read_text())
    first.rename(inbox / "cur" / f"{first.name.partition(':')[0]}:2,FS")
    next(path for path in files if path != first and "third" in path.read_text()).unlink()
    run(home, "offlineimap", "-c", rc, "-o")
    imap = _imap(instance)
    assert imap.select() == ("OK", [b"2"])
    assert imap.search(None, "SEEN", "FLAGGED", "SUBJECT", "first")[1] == [b"1"]
    imap.logout()


# -- readers ----------------------------------------------------------------------------------------------------------


@needs("s-nail")
@pytest.mark.parametrize("door", ["pop3", "pop3s", "imap", "imaps"])
def test_s_nail_lists_the_mail(instance: Instance, home: Path, password: str, door: str) -> None:
    url = f"{door}://{USER}:{password}@127.0.0.1:{instance.ports[door]}"
    said = run(home, "s-nail", "-n", "-S", "v15-compat=y", "-S", "tls-verify=ignore", "-H", "-f", url)
    assert all(subject in said for subject in SUBJECTS)


@needs("mutt")
@pytest.mark.parametrize("door", ["pop3", "imap", "pop3s", "imaps"])
def test_mutt_reads_and_deletes(instance: Instance, home: Path, password: str, door: str) -> None:
    scheme = door.replace("pop3", "pop")
    secret = shlex.quote(password)
    # mutt cannot bind to the channel, tries all the same, and then does not read the answer to its own giving up.
    authenticators = "set pop_authenticators=user" if door == "pop3s" else ""
    rc = write(
        home,
        "rc",
        f"""
set folder={home}
set ssl_starttls=no ssl_force_tls=no ssl_verify_dates=no ssl_verify_host=no certificate_file={home}/certificates
set pop_pass={secret} imap_pass={secret} pop_delete=yes
set pipe_decode=yes wait_key=no quit=yes delete=yes move=no mark_old=no sort=mailbox-order
push '<next-entry><pipe-message>cat > {home}/two<enter><previous-entry><delete-message><quit>'
{authenticators}
""",
    )
    pem = (instance.conf / "tls.pem").read_text()
    write(home, "certificates", pem[pem.index("-----BEGIN CERT") :])
    line = ["mutt", "-n", "-F", rc, "-f", f"{scheme}://{USER}@127.0.0.1:{instance.ports[door]}/"]
    run(home, "script", "-qec", shlex.join(line), "/dev/null")
    assert "Grüße" in (home / "two").read_text()
    assert left(instance) == 2


def test_poplib_after_all_of_it(instance: Instance, password: str) -> None:
    client = poplib.POP3("127.0.0.1", instance.ports["pop3"], timeout=PATIENCE)
    client.user(ALICE)
    client.pass_(password)
    assert client.stat()[0] == 3
    client.quit()
