"""Small programs that scripts use: curl, imapfilter, fdm, mpop, msmtp, and neomutt with a cache of headers."""

import imaplib
import os
import pwd
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.instance import PATIENCE, Instance

ALICE = "alice@example.test"


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    with Instance(services=("imap", "imaps", "pop3", "pop3s", "submission", "submissions")) as made:
        yield made


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program, path="/usr/bin") is None, reason=f"needs {program}")


@pytest.fixture
def home() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="tp-tool-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def imap(instance: Instance) -> Iterator[imaplib.IMAP4]:
    """Alice's, with three messages in INBOX and nothing else."""
    client = imaplib.IMAP4("127.0.0.1", instance.ports["imap"], timeout=PATIENCE)
    client.login(ALICE, instance.credentials[ALICE])
    for name in ("INBOX", "Archive", "Drafts"):
        if client.select(name)[1] != [b"0"]:
            client.store("1:*", "+FLAGS.SILENT", "\\Deleted")
            client.expunge()
    for number in range(3):
        client.append("INBOX", "", "", message(number))
    client.select("INBOX")
    yield client
    client.logout()


def message(number: int) -> bytes:
    return (
        f"From: a@b.test\r\nTo: {ALICE}\r\nSubject: nr {number}\r\nMessage-ID: <{number}@b.test>\r\n"
        f"Date: Tue, 24 Nov 2026 10:00:0{number} +0000\r\n\r\nbody {number}\r\n.\r\n"
    ).encode()


def run(home: Path, *words: str, text: str = "", user: str | None = None) -> str:
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "TERM": "vt100", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        words, input=text.encode(), capture_output=True, timeout=30, cwd=home, env=environment, user=user
    )
    said = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == 0, said
    return said.replace("\r\n", "\n")


def write(home: Path, name: str, text: str) -> str:
    path = home / name
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


@needs("curl")
def test_curl(instance: Instance, home: Path, imap: imaplib.IMAP4) -> None:
    ports = instance.ports
    (uids,) = imap.uid("SEARCH", "ALL")[1]
    second = uids.split()[1].decode()

    def curl(*words: str) -> str:
        secret = f"{ALICE}:{instance.credentials[ALICE]}"
        return run(home, "curl", "-sS", "-k", "--max-time", "20", "-u", secret, *words)

    door = f"imaps://127.0.0.1:{ports['imaps']}"
    assert '* LIST (\\HasNoChildren \\Sent) "/" Sent\n' in curl(f"{door}/")
    whole = message(0).decode().replace("\r\n", "\n")
    assert curl("--ssl-reqd", f"imap://127.0.0.1:{ports['imap']}/INBOX;MAILINDEX=1") == whole
    assert curl(f"{door}/INBOX;UID={second}/;SECTION=TEXT") == "body 1\n.\n"
    assert curl(f"{door}/INBOX?SUBJECT%20%22nr%201%22") == "* SEARCH 2\n"
    assert "* 3 EXISTS\n" in curl("-X", "EXAMINE INBOX", f"{door}/")
    curl("-T", write(home, "draft", "From: x@y.test\nSubject: uploaded\n\nup\n"), f"{door}/Drafts")
    drafts = f"imap://127.0.0.1:{ports['imap']}/Drafts;MAILINDEX=1"
    assert "Subject: uploaded\n\nup\n" in curl("--login-options", "AUTH=PLAIN", drafts)
    drop = f"pop3s://127.0.0.1:{ports['pop3s']}"
    assert [line.split()[0] for line in curl(f"{drop}/").splitlines()] == ["1", "2", "3"]
    assert curl(f"{drop}/2") == message(1).decode().replace("\r\n", "\n")
    assert len(curl("-X", "UIDL", f"{drop}/").splitlines()) == 3
    begun = len(instance.log.lines)
    door = f"smtps://127.0.0.1:{ports['submissions']}/localhost"
    curl(
        "--crlf", "--mail-from", ALICE, "--mail-rcpt", ALICE, "-T", write(home, "mail", "Subject: curled\n\n.\n"), door
    )
    instance.log.wait(f"to=<{ALICE}>.*status=sent", start=begun)
    assert curl(f"{drop}/4").endswith("\n\n.\n")


@needs("imapfilter")
def test_imapfilter(instance: Instance, home: Path, imap: imaplib.IMAP4) -> None:
    rules = f"""
options.timeout, options.starttls, options.create, options.subscribe, options.expunge = 20, false, true, true, true
account = IMAP{{server='127.0.0.1', port={instance.ports["imap"]}, username='{ALICE}',
    password='{instance.credentials[ALICE]}'}}
print('status', account.INBOX:check_status())
one = account.INBOX:contain_subject('nr 1')
one:move_messages(account['Filed/Büro'])
rest = account.INBOX:is_unseen() * account.INBOX:contain_from('a@b')
rest:add_flags({{'$Work', '\\\\Flagged'}})
print('work', #account.INBOX:has_keyword('$Work'), #account.INBOX:is_flagged())
print('body', #account.INBOX:match_body('body [02]'), #account.INBOX:match_header('nr [12]'))
print('large', #account.INBOX:is_larger(10), #account.INBOX:is_older(2))
rest:copy_messages(account.Archive)
for _, message in ipairs(rest) do
    mailbox, uid = table.unpack(message)
    one = mailbox[uid]
    print('field', one:fetch_field('subject'), one:fetch_size(), one:fetch_structure()['1'].type)
end
account.INBOX:contain_body('body 0'):delete_messages()
print('after', account.INBOX:check_status())
print('archive', account.Archive:check_status())
print('filed', account['Filed/Büro']:check_status())
account:rename_mailbox('Filed/Büro', 'Filed/Other')
account:unsubscribe_mailbox('Filed/Other')
account:delete_mailbox('Filed/Other')
"""
    said = re.sub(r"[ \t]+", " ", run(home, "imapfilter", "-c", write(home, "rules.lua", rules)))
    size = len(message(0))
    for line in (
        "status 3 0 3", "work 2 2", "body 2 1", "large 2 0", "after 1", "archive 2", "filed 1",
        f"field Subject: nr 0 {size} text/plain", f"field Subject: nr 2 {size} text/plain",
    ):  # fmt: skip
        assert f"\n{line}" in f"\n{said}", said
    assert b"Filed" not in b"".join(line for line in imap.list()[1] if isinstance(line, bytes))


@needs("fdm")
@pytest.mark.parametrize("door", ["imap", "imaps", "pop3", "pop3s"])
def test_fdm_fetches_and_removes(instance: Instance, home: Path, imap: imaplib.IMAP4, door: str) -> None:
    rc = write(
        home,
        "fdm.conf",
        f'account "a" {door} server "127.0.0.1" port {instance.ports[door]} user "{ALICE}" '
        f'pass "{instance.credentials[ALICE]}"{" no-verify" if door.endswith("s") else ""}\n'
        f'set lock-file "{home}/lock"\naction "keep" maildir "{home}/mail"\nmatch all action "keep"\n',
    )
    user = None
    if os.geteuid() == 0:
        # It delivers nothing as root.
        user = "nobody"
        for path in (home, Path(rc)):
            os.chown(path, pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)
    run(home, "fdm", "-f", rc, "fetch", user=user)
    texts = sorted(path.read_text() for path in (home / "mail" / "new").iterdir())
    assert [re.findall("Subject: nr .", text) for text in texts] == [[f"Subject: nr {number}"] for number in range(3)]
    assert all(text.endswith("\n.\n") for text in texts)
    assert imap.select("INBOX") == ("OK", [b"0"])


@needs("mpop")
@pytest.mark.parametrize("way", ["user", "plain", "login", "scram-sha-256"])
def test_mpop_keeps_and_remembers(instance: Instance, home: Path, imap: imaplib.IMAP4, way: str) -> None:
    rc = write(
        home,
        "mpop",
        f"account default\nhost 127.0.0.1\nport {instance.ports['pop3']}\ntls on\ntls_starttls on\ntls_certcheck off\n"
        f"user {ALICE}\npassword {instance.credentials[ALICE]}\nauth {way}\ndelivery mbox {home}/mbox\nkeep on\n"
        f"uidls_file {home}/uidls\nreceived_header off\n",
    )
    run(home, "mpop", "-C", rc)
    imap.append("INBOX", "", "", message(3))
    assert "new: 1 message" in run(home, "mpop", "-C", rc)
    assert re.findall(r"Subject: nr (\d)", (home / "mbox").read_text()) == ["0", "1", "2", "3"]
    assert imap.select("INBOX") == ("OK", [b"4"])


@needs("msmtp")
@pytest.mark.parametrize("way", ["plain", "login", "scram-sha-256"])
@pytest.mark.parametrize("door", ["submission", "submissions"])
def test_msmtp_sends(instance: Instance, home: Path, imap: imaplib.IMAP4, door: str, way: str) -> None:
    rc = write(
        home,
        "msmtp",
        f"account default\nhost 127.0.0.1\nport {instance.ports[door]}\ntls on\ntls_certcheck off\n"
        f"tls_starttls {'on' if door == 'submission' else 'off'}\nauth {way}\nuser {ALICE}\n"
        f"password {instance.credentials[ALICE]}\nfrom {ALICE}\ndsn_notify never\n",
    )
    begun = len(instance.log.lines)
    run(home, "msmtp", "-C", rc, ALICE, text="Subject: by msmtp\n\n.dot\nFrom here\n")
    instance.log.wait(f"to=<{ALICE}>.*status=sent", start=begun)
    imap.noop()
    (number,) = imap.search(None, "SUBJECT", '"by msmtp"')[1]
    data = imap.fetch(number.decode(), "(BODY.PEEK[TEXT])")[1]
    assert isinstance(data[0], tuple) and data[0][1] == b".dot\r\nFrom here\r\n"


@needs("neomutt")
@pytest.mark.parametrize("resync", ["imap_condstore=no imap_qresync=no", "imap_condstore=yes", "imap_qresync=yes"])
def test_neomutt_with_a_cache_of_headers(instance: Instance, home: Path, imap: imaplib.IMAP4, resync: str) -> None:
    """What others did while it was away is seen when it comes back."""

    def shown(keys: str = "") -> tuple[list[str], list[str]]:
        """Subjects of all messages, and of the flagged ones."""
        found = []
        for name, pattern in (("all", "~A"), ("flagged", "~F")):
            path = home / name
            path.unlink(missing_ok=True)
            rc = write(
                home,
                "rc",
                f"""
set header_cache={home}/cache {resync} imap_pass={shlex.quote(instance.credentials[ALICE])}
set ssl_starttls=no ssl_force_tls=no folder={home} mark_old=no
set pipe_decode=yes wait_key=no quit=yes delete=yes move=no sort=mailbox-order
push '{keys}<limit>{pattern}<enter><tag-pattern>~A<enter><tag-prefix-cond><pipe-message>cat > {path}<enter>\
<end-cond><exit>'
""",
            )
            url = f"imap://{ALICE.replace('@', '%40')}@127.0.0.1:{instance.ports['imap']}/INBOX"
            line = shlex.join(["neomutt", "-n", "-F", rc, "-f", url])
            run(home, "script", "-qec", line, "/dev/null")
            found.append(re.findall("Subject: (nr .)", path.read_text()) if path.exists() else [])
        return found[0], found[1]

    (home / "cache").mkdir()
    assert shown() == (["nr 0", "nr 1", "nr 2"], [])
    assert any((home / "cache").iterdir())
    assert shown() == (["nr 0", "nr 1", "nr 2"], [])
    imap.store("1", "+FLAGS", "\\Deleted")
    imap.expunge()
    imap.store("2", "+FLAGS", "\\Flagged")
    imap.append("INBOX", "(\\Flagged)", "", message(4))
    assert shown() == (["nr 1", "nr 2", "nr 4"], ["nr 2", "nr 4"])
