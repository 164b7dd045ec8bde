"""Roundcube: the webmail of Debian's package, in PHP's own web server, over STARTTLS to imapd and submission.

What a person does in it is done by the same HTTP requests, and what imapd said to it all the while is in its log.
"""

import http.cookiejar
import imaplib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.instance import PATIENCE, Instance, free_port

PHP = shutil.which("php")
PLACE = Path("/var/lib/roundcube")
MODULES = {"pdo_sqlite", "mbstring", "intl", "openssl", "xml"}
ALICE, BOB = "alice@example.test", "bob@example.test"


def _missing() -> str:
    if PHP is None or not (PLACE / "public_html" / "index.php").exists():
        return "needs roundcube-core, php-cli and php-sqlite3"
    there = subprocess.run([PHP, "-m"], capture_output=True, text=True, timeout=PATIENCE).stdout.lower().split()
    return " ".join(f"needs PHP's {name}" for name in sorted(MODULES - set(there)))


pytestmark = pytest.mark.skipif(bool(_missing()), reason=_missing())

_CONFIG = """<?php
$config['db_dsnw'] = 'sqlite:///{home}/roundcube.db?mode=0600';
$config['imap_host'] = 'tls://127.0.0.1:{imap}';
$config['smtp_host'] = 'tls://127.0.0.1:{submission}';
$config['smtp_user'] = '%u';
$config['smtp_pass'] = '%p';
$config['imap_conn_options'] = $config['smtp_conn_options'] =
    ['ssl' => ['verify_peer' => false, 'verify_peer_name' => false]];
$config['des_key'] = 'twenty-four-octets-long!';
$config['log_driver'] = 'file';
$config['log_dir'] = '{home}/logs/';
$config['temp_dir'] = '{home}/temp/';
$config['imap_debug'] = $config['smtp_debug'] = true;
$config['imap_cache'] = $config['messages_cache'] = {cache};
$config['plugins'] = [];
$config['enable_spellcheck'] = false;
$config['language'] = 'en_US';
$config['mime_types'] = '/etc/mime.types';
$config['check_all_folders'] = true;
"""


class Browser:
    """One person's: cookies, and the token by which Roundcube knows its own pages."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._token = ""
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()), urllib.request.ProxyHandler({})
        )

    def _open(self, query: dict[str, str], form: dict[str, str] | None, remote: bool) -> bytes:
        query = {**query, "_remote": "1"} if remote else query
        headers = {"X-Requested-With": "XMLHttpRequest", "X-Roundcube-Request": self._token} if remote else {}
        data = None if form is None else urllib.parse.urlencode({**form, "_token": self._token}).encode()
        request = urllib.request.Request(f"{self._base}/?{urllib.parse.urlencode(query)}", data, headers)
        with self._opener.open(request, timeout=PATIENCE) as answer:
            found: bytes = answer.read()
        return found

    def page(self, *, form: dict[str, str] | None = None, **query: str) -> str:
        text = self._open({f"_{name}": value for name, value in query.items()}, form, False).decode()
        if match := re.search(r'"request_token":"(\w+)"', text):
            self._token = match[1]
        return text

    def ask(
        self, action: str, *, form: dict[str, str] | None = None, task: str = "mail", **query: str
    ) -> dict[str, Any]:
        """As its JavaScript does; what it is to execute comes back."""
        wanted = {"_task": task, "_action": action, **{f"_{name}": value for name, value in query.items()}}
        found: dict[str, Any] = json.loads(self._open(wanted, form, True))
        assert '"error"' not in found.get("exec", "").replace("\\", ""), found
        return found

    def download(self, **query: str) -> bytes:
        return self._open({f"_{name}": value for name, value in query.items()} | {"_token": self._token}, None, False)

    def log_in(self, user: str, password: str) -> str:
        self.page(task="login")
        form = {"_task": "login", "_action": "login", "_timezone": "UTC", "_url": "", "_user": user, "_pass": password}
        return self.page(task="login", form=form)

    def messages(self, folder: str = "INBOX", **query: str) -> dict[int, str]:
        """Subjects by UID, in the order of the list."""
        return rows(self.ask("list", form=None, task="mail", mbox=folder, refresh="1", **query))

    def search(self, words: str, **query: str) -> dict[int, str]:
        """In INBOX, which is listed whole afterwards."""
        found = rows(self.ask("search", form=None, task="mail", q=words, mbox="INBOX", scope="base", **query))
        self.messages()
        return found


def rows(answer: dict[str, Any]) -> dict[int, str]:
    found = {}
    for uid, columns in re.findall(r"this\.add_message_row\((\d+),(\{.*?\}),\{", answer["exec"]):
        found[int(uid)] = re.sub(r"<[^>]+>", "", json.loads(columns).get("subject", "")).strip()
    return found


class Webmail:
    def __init__(self, instance: Instance, cache: str) -> None:
        self.instance = instance
        self.home = Path(tempfile.mkdtemp(prefix="tp-rc-", dir="/tmp"))
        for name in ("logs", "temp", "config"):
            (self.home / name).mkdir()
        for name in ("defaults.inc.php", "mimetypes.php"):
            shutil.copy(PLACE / "config" / name, self.home / "config" / name)
        text = _CONFIG.replace("{home}", str(self.home)).replace("{cache}", cache)
        for service in ("imap", "submission"):
            text = text.replace(f"{{{service}}}", str(instance.ports[service]))
        (self.home / "config" / "config.inc.php").write_text(text)
        port = free_port()
        self.base = f"http://127.0.0.1:{port}"
        assert PHP is not None
        with (self.home / "php.log").open("wb") as output:
            self._process = subprocess.Popen(
                [PHP, "-S", f"127.0.0.1:{port}", "-t", str(PLACE / "public_html")],
                env={**os.environ, "ROUNDCUBE_CONFIG_DIR": str(self.home / "config")},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), PATIENCE).close()
                return
            except ConnectionRefusedError:
                assert self._process.poll() is None and time.monotonic() < deadline, self.text("php.log")
                time.sleep(0.02)

    def text(self, name: str) -> str:
        path = self.home / name
        return path.read_text(errors="replace") if path.exists() else ""

    def refusals(self) -> list[str]:
        """Tagged answers of imapd that are not OK."""
        return re.findall(r"S: (A\d+ (?:BAD|NO) .*)", self.text("logs/imap.log"))

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)
        shutil.rmtree(self.home, ignore_errors=True)


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    with Instance(services=("imap", "submission")) as made:
        yield made


@pytest.fixture(params=["null", "'db'"], ids=["no cache", "a cache"])
def webmail(instance: Instance, request: pytest.FixtureRequest) -> Iterator[Webmail]:
    made = Webmail(instance, request.param)
    yield made
    made.stop()


def deliver(instance: Instance, subject: str, text: str, attachment: bytes = b"") -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "Bär <baer@example.org>", ALICE, subject
    message["Date"] = f"Tue, 24 Nov 2026 10:00:{deliver.__dict__.setdefault('count', 0) % 60:02} +0000"
    deliver.__dict__["count"] += 1
    message["Message-ID"] = f"<{uuid.uuid4()}@example.org>"
    message.set_content(text)
    if attachment:
        message.add_attachment(attachment, maintype="application", subtype="pdf", filename="plan.pdf")
    begun = len(instance.log.lines)
    instance.send(ALICE, message.as_bytes(), sender="baer@example.org")
    instance.log.wait("status=sent", start=begun)


def test_a_day(instance: Instance, webmail: Webmail) -> None:
    mark = uuid.uuid4().hex[:8]
    browser = Browser(webmail.base)
    page = browser.log_in(ALICE, instance.credentials[ALICE])
    assert "_task=logout" in page, re.sub(r"<[^>]+>", " ", page)[:2000] + webmail.text("logs/errors.log")
    for name in ("INBOX", "Drafts", "Sent", "Junk", "Trash", "Archive"):
        assert f'rel="{name}"' in page

    # It arrives while the page is open, and is there at the next refresh.
    before = browser.messages()
    deliver(instance, f"{mark} Grüße", "the first\n")
    deliver(instance, f"{mark} 会议", f"ein Wort{mark} darin\n", bytes(range(256)) * 64)
    news = browser.ask("refresh", form={"_mbox": "INBOX", "_list": "1", "_folderlist": "1", "_quota": "1"})
    assert mark in news["exec"]
    found = {subject: uid for uid, subject in browser.messages().items() if uid not in before}
    assert set(found) == {f"{mark} Grüße", f"{mark} 会议"}
    first, second = found[f"{mark} Grüße"], found[f"{mark} 会议"]
    # By date, by subject, as threads.
    assert list(browser.messages(sort="date_ASC"))[-2:] == [first, second]
    assert list(browser.messages(sort="date_DESC"))[:2] == [second, first]
    assert set(found.values()) <= set(browser.messages(sort="subject_ASC"))
    assert set(found.values()) <= set(browser.messages(threads="1"))
    browser.messages(threads="0")

    # Opened: text and attachment, and read from then on.
    shown = browser.page(task="mail", action="show", uid=str(second), mbox="INBOX")
    assert f"ein Wort{mark} darin" in shown and "plan.pdf" in shown and "会议" in shown
    saved = browser.download(task="mail", action="get", mbox="INBOX", uid=str(second), part="2", download="1")
    assert saved == bytes(range(256)) * 64
    source = browser.page(task="mail", action="viewsource", uid=str(second), mbox="INBOX")
    assert "Received:" in source and "multipart/mixed" in source
    assert set(browser.search("", filter="UNSEEN")) & {first, second} == {first}

    # Found by subject, in two scripts, and by what stands in the body.
    for words, where, expected in (
        (mark, "subject", {first, second}),
        ("会议", "subject", {second}),
        ("grüße", "subject", {first}),
        (f"wort{mark}", "text", {second}),
        ("baer@example.org", "from", {first, second}),
    ):
        answer = browser.search(words, headers=where)
        assert {uid for uid, subject in answer.items() if mark in subject} == expected, (words, answer)
    everywhere = browser.ask("search", q=f"wort{mark}", headers="text", mbox="INBOX", scope="all")
    assert mark in everywhere["exec"]

    # Marked, and moved to Trash and back.
    browser.ask("mark", form={"_uid": str(first), "_flag": "flagged", "_mbox": "INBOX"})
    assert set(browser.search("", filter="FLAGGED")) & {first, second} == {first}
    browser.ask("mark", form={"_uid": str(second), "_flag": "unread", "_mbox": "INBOX"})
    browser.ask("move", form={"_uid": f"{first},{second}", "_mbox": "INBOX", "_target_mbox": "Trash"})
    gone = {subject: uid for uid, subject in browser.messages("Trash").items() if mark in subject}
    assert set(gone) == set(found) and not set(found.values()) & set(browser.messages())
    browser.ask("copy", form={"_uid": str(gone[f"{mark} Grüße"]), "_mbox": "Trash", "_target_mbox": "Archive"})
    assert f"{mark} Grüße" in browser.messages("Archive").values()

    _another_client(instance, browser, mark)
    _folders(browser, mark, str(gone[f"{mark} 会议"]))
    _write(instance, browser, mark)
    browser.ask("folder-purge", task="settings", form={"_mbox": "Trash"})
    assert browser.messages("Trash") == {}
    browser.download(task="logout")
    assert webmail.refusals() == []
    assert webmail.text("logs/errors.log") == ""


def _another_client(instance: Instance, browser: Browser, mark: str) -> None:
    """What it changes is seen in the list, be that kept in Roundcube's cache or not."""
    for number in range(3):
        deliver(instance, f"{mark} shared {number}", "x\n")
    shared = {subject: uid for uid, subject in browser.messages().items() if f"{mark} shared" in subject}
    assert len(shared) == 3
    with imaplib.IMAP4("127.0.0.1", instance.ports["imap"], PATIENCE) as other:
        other.login(ALICE, instance.credentials[ALICE])
        other.select()
        other.uid("STORE", str(shared[f"{mark} shared 0"]), "+FLAGS", "(\\Deleted)")
        other.expunge()
        other.uid("STORE", str(shared[f"{mark} shared 1"]), "+FLAGS", "(\\Flagged $Forwarded)")
        news = browser.ask("refresh", form={"_mbox": "INBOX", "_list": "1", "_folderlist": "1"})
        assert f"{mark} shared 0" not in news["exec"]
        answer = browser.ask("list", mbox="INBOX", refresh="1")
        assert f"{mark} shared 0" not in answer["exec"]
        (about,) = re.findall(
            rf"add_message_row\({shared[f'{mark} shared 1']},.*?(\{{[^{{}}]*\}}),false\);", answer["exec"]
        )
        assert json.loads(about)["flagged"] and json.loads(about)["forwarded"]


def _folders(browser: Browser, mark: str, uid: str) -> None:
    """A folder is made, filled, renamed and removed."""
    name = f"Größe {mark}"
    wire = f"Gr&APYA3w-e {mark}"
    form = {"_task": "settings", "_action": "folder-save", "_framed": "1", "_mbox": "", "_name": name, "_parent": ""}
    assert "createerror" not in browser.page(task="settings", action="folder-save", form=form)
    assert name in browser.page(task="settings", action="folders")
    browser.ask("move", form={"_uid": uid, "_mbox": "Trash", "_target_mbox": wire})
    assert len(browser.messages(wire)) == 1
    edit = browser.page(task="settings", action="edit-folder", framed="1", mbox=wire)
    assert f'value="{name}"' in edit
    form |= {"_mbox": wire, "_name": f"Neue {name}"}
    browser.page(task="settings", action="folder-save", form=form)
    assert len(browser.messages(f"Neue {wire}")) == 1
    browser.ask("folder-unsubscribe", task="settings", form={"_mbox": f"Neue {wire}"})
    browser.ask("folder-delete", task="settings", form={"_mbox": f"Neue {wire}"})
    assert f"Neue {name}" not in browser.page(task="settings", action="folders")


def _write(instance: Instance, browser: Browser, mark: str) -> None:
    """A draft is kept, sent to Bob through submission, and filed in Sent."""
    begun = len(instance.log.lines)
    page = browser.page(task="mail", action="compose")
    found = re.search(r'name="_id" value="(\w+)"', page)
    sender = re.search(r'<option value="(\d+)"[^>]*>[^<]*alice@example.test', page)
    assert found is not None and sender is not None, page
    form = {
        "_task": "mail", "_action": "send", "_id": found[1], "_from": sender[1], "_to": BOB, "_cc": "", "_bcc": "",
        "_subject": f"{mark} an Bob", "_message": "Schöne Grüße\n.\nFrom me\n", "_is_html": "0", "_framed": "1",
        "_attachments": "", "_priority": "0", "_store_target": "Sent", "_draft_saveid": "", "_draft": "1",
    }  # fmt: skip
    answer = browser.page(task="mail", action="send", form=form)
    draft = re.search(r'set_draft_id\("(\d+)"\)', answer)
    assert draft is not None, answer
    assert browser.messages("Drafts") == {int(draft[1]): f"{mark} an Bob"}
    answer = browser.page(task="mail", action="send", form={**form, "_draft": "", "_draft_saveid": draft[1]})
    assert "sent_successfully" in answer, answer
    assert f"{mark} an Bob" in browser.messages("Sent").values()
    instance.log.wait(rf"to=<{BOB}>.*status=sent", start=begun)
    other = Browser(browser._base)
    other.log_in(BOB, instance.credentials[BOB])
    (uid,) = (uid for uid, subject in other.messages().items() if subject == f"{mark} an Bob")
    text = other.download(task="mail", action="viewsource", uid=str(uid), mbox="INBOX").decode()
    # RFC 3676 4.4: "From " is stuffed by who writes it.
    assert text.replace("\r\n", "\n").endswith("\n\nSchöne Grüße\n.\n From me")
