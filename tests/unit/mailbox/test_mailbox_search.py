"""SEARCH over a folder against a naive evaluation with Python's own email package."""

import email
import email.policy
import os
import random
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tubepost.common.imap import search as keys
from tubepost.common.imap.parse import Scanner
from tubepost.common.imap.search import Key, parse_search

from tubepost.common.mail.crlf import Data
from tubepost.common.mailbox.maildir import fulltext, reading, search
from tubepost.common.mailbox.maildir.account import MaildirAccount
from tubepost.common.mailbox.maildir.folder import Folder
from tubepost.common.mailbox.maildir.search import Evaluation
from tubepost.common.mailbox.maildir.words import fold
from tubepost.common.mailbox.values import Context

NOW = 1_764_000_000
WORDS = (
    "budget", "Budgets", "plan", "re-plan", "a.b", "会议", "会议室", "讨论会议纪要", "école", "ÉCOLE", "Straße", "x",
    "caffè", "1,000", "foo@example.org", "<tag>", "привет", "ПРИВЕТ", "안녕", "日本語テキスト", "end.", "(end)", "😀",
    "averyveryveryverylongwordthatisnotshortatallandgoesonandonforever",
)  # fmt: skip


def build(random_: random.Random, number: int) -> bytes:
    def some(count: int) -> str:
        return " ".join(random_.choice(WORDS) for _ in range(random_.randint(1, count)))

    message = EmailMessage(policy=email.policy.SMTPUTF8 if number % 3 == 0 else email.policy.SMTP)
    message["From"] = f"Sender {number} <s{number}@example.org>"
    message["To"] = "bob@example.test"
    message["Subject"] = some(4)
    if number % 4:
        message["X-Note"] = some(3)
    message["Date"] = f"Tue, {1 + number % 28} Nov 2025 23:30:00 -0500"
    charset, encoding = random_.choice(
        [("utf-8", "8bit"), ("utf-8", "base64"), ("utf-8", "quoted-printable"), ("utf-16", "base64")]
    )
    message.set_content("\n".join(some(8) for _ in range(5)) + "\n", charset=charset, cte=encoding)
    if number % 3 == 1:
        message.add_alternative(f"{some(6)}\n", charset="gb18030", subtype="plain", cte="base64")
    if number % 5 == 2:
        inner = EmailMessage()
        inner["Subject"] = some(3)
        inner.set_content(some(6) + "\n", cte="base64")
        message.add_attachment(inner)
    return message.as_bytes().replace(b"\r\n", b"\n")


class Naive:
    """A message as Python reads it."""

    def __init__(self, raw: bytes) -> None:
        self.message = email.message_from_bytes(raw, policy=email.policy.default)
        self.header = "\n".join(f"{name}: {value}" for name, value in self.message.items())
        mime: list[str] = []
        body: list[str] = []
        for part in self.message.walk():
            if part.get_content_maintype() == "text":
                body.append(part.get_content().replace("\r\n", "\n"))
        for part in self.message.walk():
            if part.get_content_type() == "message/rfc822":
                inner = next(part.iter_parts())
                body += [f"{name}: {value}" for name, value in inner.items()]
            if part is not self.message:
                mime += [f"{name.lower()}: {value}" for name, value in part.items()]
        self.texts = {"BODY": body, "TEXT": [*body, self.header, *mime]}

    def matches(self, key: Key) -> bool:
        match key:
            case keys.And(inner):
                return all(map(self.matches, inner))
            case keys.Or(first, second):
                return self.matches(first) or self.matches(second)
            case keys.Not(inner):
                return not self.matches(inner)
            case keys.Text(b"SUBJECT", value):
                return fold(value) in fold(str(self.message["Subject"]))
            case keys.Text(name, value):
                return any(fold(value) in fold(text) for text in self.texts[name.decode()])
            case keys.Header(name, value):
                found = self.message.get_all(name.decode(), [])
                return any(fold(value) in fold(str(each)) for each in found)
        raise AssertionError(key)


class Box:
    def __init__(self, root: Path, count: int = 40) -> None:
        random_ = random.Random(7)
        self.account = MaildirAccount(str(root))
        self.raw = [build(random_, number) for number in range(count)]
        for number, raw in enumerate(self.raw):
            (root / "cur" / f"{1_700_000_000 + number}.M{number}.host:2,{'S' if number % 2 else ''}").write_bytes(raw)
        self.folder: Folder = self.account.folder("INBOX")
        self.folder.sync()
        self.naive = [Naive(raw) for raw in self.raw]
        self.uids = [uid for uid, _ in self.folder.uids()]

    def find(self, key: Key, **changes: object) -> list[int]:
        given_ = {"now": NOW, "uids": self.uids, **changes}
        return list(Evaluation(self.folder, key, Context(**given_)).run())  # type: ignore[arg-type]

    def ask(self, text: str, **changes: object) -> list[int]:
        return self.find(parse_search(Scanner(text.encode(), utf8=True)).key, **changes)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    return Box(tmp_path_factory.mktemp("search") / "box")


def needles() -> st.SearchStrategy[str]:
    pieces = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)

    def cut(text: str) -> st.SearchStrategy[str]:
        return st.tuples(st.integers(0, len(text) - 1), st.integers(1, len(text))).map(
            lambda ends: text[min(ends) : max(ends)] or text
        )

    return pieces.flatmap(cut)


def leaves() -> st.SearchStrategy[Key]:
    return st.one_of(
        st.builds(keys.Text, st.sampled_from([b"BODY", b"TEXT", b"SUBJECT"]), needles()),
        st.builds(keys.Header, st.sampled_from([b"X-Note", b"Subject", b"x-none"]), st.one_of(needles(), st.just(""))),
    )


TREES = st.recursive(
    leaves(),
    lambda inner: st.one_of(
        st.builds(keys.Not, inner),
        st.builds(keys.Or, inner, inner),
        st.lists(inner, min_size=1, max_size=3).map(lambda found: keys.And(tuple(found))),
    ),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TREES)
def test_texts_are_found_as_python_finds_them(box: Box, key: Key) -> None:
    expected = [uid for uid, message in zip(box.uids, box.naive, strict=True) if message.matches(key)]
    assert box.find(key) == expected


OTHERS = ["SEEN", "5:20", "UID 1:9,30:*", "LARGER 700", "SENTBEFORE 9-Nov-2025", "SUBJECT budget", "$", "RECENT"]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.one_of(leaves(), st.sampled_from(OTHERS).map(lambda text: parse_search(Scanner(text.encode())).key)),
        lambda inner: st.one_of(
            st.builds(keys.Not, inner),
            st.builds(keys.Or, inner, inner),
            st.lists(inner, min_size=2, max_size=4).map(lambda found: keys.And(tuple(found))),
        ),
        max_leaves=8,
    )
)
def test_keys_together_are_what_they_are_alone(box: Box, tree: Key) -> None:
    context = {"saved": box.uids[10:14], "recent": [(box.uids[35], 1 << 31)]}
    known: dict[Key, set[int]] = {}

    def naive(key: Key) -> set[int]:
        match key:
            case keys.And(inner):
                return set(box.uids).intersection(*map(naive, inner))
            case keys.Or(first, second):
                return naive(first) | naive(second)
            case keys.Not(inner):
                return set(box.uids) - naive(inner)
        if key not in known:
            known[key] = set(box.find(key, **context))
        return known[key]

    assert box.find(tree, **context) == sorted(naive(tree))


def test_a_word_is_found_in_some_and_not_in_all(box: Box) -> None:
    # The property above would hold as well if nothing were ever found.
    for word in ("budget", "会议", "纪要", "école", "привет", "udge", "re-plan", "テキ"):
        found = box.find(keys.Text(b"BODY", word))
        assert 0 < len(found) < len(box.uids), word


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ALL", range(40)),
        ("SEEN", range(1, 40, 2)),
        ("UNSEEN 1:5", [0, 2, 4]),
        ("UID 5,7:8,39:*", [4, 6, 7, 38, 39]),
        ("38:*", [37, 38, 39]),
        ("*", [39]),
        # RFC 7377 2: beyond the last is no error.
        ("100:200", []),
        ("NOT 2:40", [0]),
        ("OR 1 40", [0, 39]),
        ("KEYWORD $nothing", []),
        ("SENTON 2-Nov-2025", [1, 29]),
        # The date as it is written: 23:30 -0500 is the next day in UTC.
        ("SENTBEFORE 2-Nov-2025", [0, 28]),
        ("SENTSINCE 28-Nov-2025", [27]),
        ("SENTSINCE 1-Dec-2025", []),
        ("FROM s39@EXAMPLE", [39]),
        ('FROM "sender 39"', [39]),
        ("CC x", []),
        ('SUBJECT ""', range(40)),
        ('HEADER X-Note ""', [number for number in range(40) if number % 4]),
        ('NOT HEADER X-Note ""', range(0, 40, 4)),
        ("HEADER From <s39@example.org>", [39]),
        ("RECENT", [38, 39]),
        ("NEW", [38]),
        ("OLD SEEN 30:*", [29, 31, 33, 35, 37]),
        ("$", [1, 3]),
        ("UID $ SEEN", [1, 3]),
        ("OR $ 1", [0, 1, 3]),
        ("SAVEDATESUPPORTED", range(40)),
        ("SMALLER 10", []),
        ("LARGER 10", range(40)),
        ("EMAILID M0", []),
        ("MODSEQ 1", range(40)),
        ("MODSEQ 9223372036854775807", []),
        ('FUZZY SUBJECT ""', range(40)),
    ],
)
def test_keys(box: Box, text: str, expected: "list[int] | range") -> None:
    recent = [(box.uids[38], 1 << 31)]
    found = box.ask(text, recent=recent, saved=[box.uids[1], box.uids[3], 9999])
    assert found == [box.uids[number] for number in expected]


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize("step", [2, 9])
def test_recent_in_runs(box: Box, seen: bool, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another session has claimed in between is not recent here."""
    monkeypatch.setattr(search, "_RANGES", 10)
    runs = [(uid, uid) for uid in box.uids[::step]]
    assert box.ask("RECENT", recent=runs, uids=box.uids if seen else None) == box.uids[::step]
    assert box.ask("OLD", recent=runs) == [uid for uid in box.uids if uid not in box.uids[::step]]
    assert box.ask("NEW", recent=()) == []


def test_what_is_nested_deeply_is_asked_in_steps(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others may use the account between them, however many such keys there are."""
    monkeypatch.setattr(search, "_ROWS", 50)
    deep = "NOT " * 12
    text = " ".join([f"OR ({deep}SEEN) ({deep}FLAGGED)"] * 5)
    evaluation = Evaluation(box.folder, parse_search(Scanner(text.encode())).key, Context(NOW, box.uids))
    asked: list[int] = []
    select = evaluation._select

    def counted(*arguments: object) -> list[int]:
        asked[-1] += 1
        return select(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluation, "_select", counted)
    asked.append(0)
    while evaluation.step() is not None:
        asked.append(0)
    assert list(evaluation.found) == box.uids[1::2]
    assert len(asked) > 10 and max(asked) <= 1


def test_internal_dates(tmp_path: Path) -> None:
    root = tmp_path / "box"
    account = MaildirAccount(str(root))
    day = 20_000 * 86400
    for number, moment in enumerate((day - 1, day, day + 86399, day + 86400)):
        path = root / "cur" / f"{number}.M{number}.host:2,"
        path.write_bytes(b"Subject: x\n\nx\n")
        os.utime(path, (moment, moment))
    folder = account.folder("INBOX")
    folder.sync()

    def ask(key: Key, now: float = NOW) -> list[int]:
        return list(Evaluation(folder, key, Context(now)).run())

    assert ask(keys.On("INTERNAL", "<", 20_000)) == [1]
    assert ask(keys.On("INTERNAL", "=", 20_000)) == [2, 3]
    assert ask(keys.On("INTERNAL", ">", 20_000)) == [2, 3, 4]
    # No Date field: neither before nor after anything.
    assert ask(keys.Or(keys.On("SENT", "<", 30_000), keys.On("SENT", ">", 0))) == []
    # RFC 5032: at any time each message is either older or younger.
    # RFC 5032 2: that second itself is of both.
    assert ask(keys.Within(True, 86400), day + 86400) == [1, 2]
    assert ask(keys.Within(False, 86400), day + 86400) == [2, 3, 4]


def test_thread_and_email_ids(box: Box) -> None:
    box.folder.complete(box.uids)
    rows = list(box.folder.rows(("uid", "emailid", "threadid"), box.uids[:1]))
    uid, emailid, threadid = rows[0]
    assert box.ask(f"EMAILID {emailid}") == [uid]
    assert uid in box.ask(f"THREADID {threadid}")


def test_only_what_the_session_sees(box: Box) -> None:
    assert box.ask("ALL", uids=box.uids[:10]) == box.uids[:10]
    assert box.ask("5:*", uids=box.uids[:10]) == box.uids[4:10]
    assert box.ask("ALL", uids=[]) == []
    assert box.ask("BODY budget", among=box.uids[:5]) == [
        uid for uid in box.uids[:5] if box.naive[uid - 1].matches(keys.Text(b"BODY", "budget"))
    ]


def test_thousands_of_keys(box: Box) -> None:
    """SQLite takes expressions of 1000 levels and statements of 32,766 parameters: a client may ask for more."""
    many = keys.And(tuple(keys.Not(keys.Size(">", 1_000_000 + number)) for number in range(2000)))
    assert box.find(many) == box.uids
    ranges = ",".join(f"{number}" for number in range(1, 12_000, 2))
    assert box.ask(f"UID {ranges}") == box.uids[::2]
    few = " ".join(f"UID {start}:{start + 3}" for start in range(1, 37, 4))
    assert box.ask(few) == []


@pytest.mark.parametrize("seen", [True, False])
def test_many_steps_find_the_same(box: Box, monkeypatch: pytest.MonkeyPatch, seen: bool) -> None:
    monkeypatch.setattr("tubepost.common.mailbox.maildir.search._ROWS", 100)
    key = keys.And((keys.Not(keys.Size("<", 1)), *(keys.Size(">", number) for number in range(50))))
    evaluation = Evaluation(box.folder, key, Context(NOW, box.uids if seen else None))
    steps = 0
    while evaluation.step() is not None:
        steps += 1
    assert list(evaluation.found) == box.uids
    assert steps == 2
    assert not evaluation.is_quick


def test_a_deep_tree(box: Box) -> None:
    """SQLite's parser takes no more than 100 levels, and each key has two."""
    wanted = keys.Text(b"TEXT", "budget")
    key: Key = wanted
    for _ in range(100):
        key = keys.Not(key)
    assert box.find(key) == box.find(wanted)
    key = wanted
    for _ in range(33):
        key = keys.Or(keys.Size("<", 5), keys.And((keys.All(), keys.Not(key))))
    assert box.find(key) == box.find(keys.Not(wanted))
    wide: Key = keys.All()
    for _ in range(90):
        wide = keys.And((*[keys.Size(">", 1)] * 20, keys.Or(keys.Size("<", 1), wide)))
    assert box.find(wide) == box.uids


def test_a_message_with_too_many_words_is_still_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "box"
    account = MaildirAccount(str(root))
    monkeypatch.setattr("tubepost.common.mailbox.maildir.fulltext.terms", lambda texts: _limited(texts))
    (root / "cur" / "1.M1.host:2,").write_bytes(b"Subject: many\n\n" + b" ".join(b"w%d" % n for n in range(99)))
    (root / "cur" / "2.M2.host:2,").write_bytes(b"Subject: few\n\nw1 w2\n")
    folder = account.folder("INBOX")
    folder.sync()

    def ask(text: str) -> list[int]:
        return list(Evaluation(folder, keys.Text(b"BODY", text), Context(NOW)).run())

    assert ask("w98") == [1]
    assert ask("w1") == [1, 2]
    assert ask("w1 w2") == [1, 2]
    assert ask("w200") == []
    assert account.database.one("SELECT indexed FROM content WHERE id=1")[0] == 2


def _limited(texts: list[str]) -> object:
    from tubepost.common.mailbox.maildir import words

    return words.terms(texts, 20)


def test_steps_are_short(box: Box) -> None:
    fulltext.reset(box.account)
    evaluation = Evaluation(box.folder, keys.Text(b"BODY", "budget plan"), Context(NOW, box.uids))
    assert not evaluation.is_quick
    steps = 0
    while evaluation.step() is not None:
        steps += 1
    assert steps >= 3
    assert list(evaluation.found) == [
        uid for uid in box.uids if box.naive[uid - 1].matches(keys.Text(b"BODY", "budget plan"))
    ]
    assert Evaluation(box.folder, keys.All(), Context(NOW, box.uids)).is_quick


def test_a_search_that_failed_does_not_pass_for_one_that_found_nothing(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation = Evaluation(box.folder, keys.Text(b"BODY", "budget plan"), Context(NOW, box.uids))

    def broken(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(fulltext, "candidates", broken)
    monkeypatch.setattr(fulltext, "answer", broken)
    for _ in range(2):
        with pytest.raises(OSError, match="no"):
            evaluation.run()


def test_large_messages_are_read_in_steps_of_their_own(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tubepost.common.mailbox.maildir.search._OCTETS", 100)
    evaluation = Evaluation(box.folder, keys.Text(b"TEXT", "to: bob"), Context(NOW, box.uids))
    steps = 0
    while evaluation.step() is not None:
        steps += 1
    assert steps > len(box.uids)
    assert list(evaluation.found) == box.uids


@pytest.mark.parametrize("text", ["1:2 BODY ---", "1:2 (NOT SUBJECT z (OR BODY --- BODY ...))", "UID 1:2 NOT BODY ..."])
def test_only_what_the_other_keys_leave_over_is_read(box: Box, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    read: set[str] = set()
    real = reading.read_with

    def counted(path: str, function: Callable[[Data], bool]) -> bool | None:
        read.add(path)
        return real(path, function)

    box.ask("BODY x")
    monkeypatch.setattr("tubepost.common.mailbox.maildir.search.read_with", counted)
    box.ask(text)
    assert len(read) == 2
