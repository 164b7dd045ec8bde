"""What tubepost mailbox is made of: mbox files, searches as they are typed, what is known already, round trips."""

import io
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tubepost.common.imap.search import All, And, Flag, Not, Numbers, Or, Text

from tubepost.common.mailbox.maildir.account import MaildirAccount
from tubepost.common.mailbox.maildir.folder import Folder

from tubepost.commands.mailbox import mbox
from tubepost.commands.mailbox.address import is_loopback, parse_address
from tubepost.commands.mailbox.exporting import Writer, _export, _Maildir, _Mbox
from tubepost.commands.mailbox.intake import Intake, Item, Known, Source, batches, message_id_of, transfer
from tubepost.commands.mailbox.maildir import MaildirSource
from tubepost.commands.mailbox.places import matches
from tubepost.commands.mailbox.query import parse

# mbox


def read(path: Path) -> list[tuple[bytes, int, tuple[str, ...]]]:
    file = mbox.MboxFile(str(path), 0)
    try:
        return [
            (b"".join(file.content(start, stop, counted)), date, mbox.flags_of(file.header(start, stop)))
            for _, start, stop, date, counted in file.messages()
        ]
    finally:
        file.close()


def of(tmp_path: Path, data: bytes) -> list[tuple[bytes, int, tuple[str, ...]]]:
    path = tmp_path / "some.mbox"
    path.write_bytes(data)
    return read(path)


def test_an_mbox_of_others(tmp_path: Path) -> None:
    found = of(
        tmp_path,
        b"From a@b.test Thu Nov 24 18:22:48 2026 +0100\nStatus: RO\nX-Status: AF\nX-Keywords: Work (odd)\n"
        b"Subject: 1\n\n"
        b"From the start\n>From there\n>>From here\n\n"
        b"From MAILER-DAEMON  Thu Nov 24 18:22:48 +0100 2026\nSubject: 2\nstatus: O\nX-UID: 7\n folded\n\nx\n\n"
        b"From  Thu Nov 24 18:22 2026 remote from x\nno header at all\n\n",
    )
    # "From the start" is no From_ line: it has no date.
    assert found[0] == (
        b"Subject: 1\n\nFrom the start\nFrom there\n>From here\n",
        1795540968,
        ("\\Seen", "\\Answered", "\\Flagged", "Work"),
    )
    assert found[1] == (b"Subject: 2\n\nx\n", 1795540968, ())
    assert found[2][0] == b"no header at all\n"
    assert len(found) == 3


@pytest.mark.parametrize("data", [b"", b"\n", b"Subject: no mbox\n\nbody\n", b"From x\n\n", b"From", b"\nFrom "])
def test_no_mbox_has_no_messages(tmp_path: Path, data: bytes) -> None:
    assert of(tmp_path, data) == []


def test_mbox_with_crlf(tmp_path: Path) -> None:
    line = b"From a@b.test Thu Nov 24 18:22:48 2026\r\n"
    found = of(tmp_path, (line + b"Subject: 1\r\n\r\nx\r\n\r\n") * 2)
    assert [content for content, _, _ in found] == [b"Subject: 1\n\r\nx\r\n"] * 2


def test_mbox_with_content_length(tmp_path: Path) -> None:
    line = b"From a@b.test Thu Nov 24 18:22:48 2026 +0000\n"
    body = b"x\n\n" + line + b">From y\n"
    message = b"A: b\nContent-Length: %d\n\n" % len(body) + body + b"\n"
    for data in ((line + message) * 2, line + message + line + message[:-1]):
        assert [content for content, _, _ in of(tmp_path, data)] == [b"A: b\n\n" + body] * 2
    # Where it is wrong it does not count.
    wrong = b"A: b\nContent-Length: 3\n\nlonger\n"
    assert [content for content, _, _ in of(tmp_path, line + wrong + b"\n" + line + wrong)] == [wrong] * 2
    assert of(tmp_path, line + b"A: b\nContent-Length: 999\n\nx\n")[0][0].endswith(b"999\n\nx\n")


def test_bad_dates(tmp_path: Path) -> None:
    assert of(tmp_path, b"From a Thu Foo 24 18:22:48 2026\nA: b\n\n")[0][1] == -1
    assert of(tmp_path, b"From a Thu Nov 99 18:22:48 2026 +0000\nA: b\n\n")[0][1] == -1


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from((b"From ", b">", b"a", b"\n", b"\n\n", b"Status: R\n", b": ", b"\xff"))),
            st.sets(st.sampled_from(("\\Seen", "\\Answered", "\\Flagged", "\\Draft", "\\Deleted", "$Forwarded", "x"))),
            st.integers(0, 4_000_000_000),
        ),
        max_size=6,
    )
)
def test_what_is_written_is_read(messages: list[tuple[list[bytes], set[str], int]]) -> None:
    """Any content (a header line of ours aside, and the last line ended), flags and dates."""
    wanted = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.mbox"
        with open(path, "wb") as target:
            for pieces, flags, date in messages:
                content = b"Subject: x\n\n" + b"".join(pieces)
                with tempfile.TemporaryFile() as file:
                    file.write(content)
                    file.flush()
                    mbox.write_message(file.fileno(), sorted(flags), date, target.write)
                wanted.append((content if content.endswith(b"\n") else content + b"\n", date, flags))
        assert [(content, date, set(flags)) for content, date, flags in read(path)] == wanted


def test_a_line_longer_than_a_piece() -> None:
    with tempfile.TemporaryFile() as file:
        long = b"x" * (mbox._PIECE + 10) + b"From y\n"
        content = b"Subject: x\n\n" + b"From a\n" + long + b"From b\n" + long
        file.write(content)
        file.flush()
        target = io.BytesIO()
        mbox.write_message(file.fileno(), (), 0, target.write)
        written = target.getvalue()
    assert written.count(b"\n>From ") == 2
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.mbox"
        path.write_bytes(written)
        assert read(path)[0][0] == content


@given(st.text(alphabet="a./%~ü\\:", min_size=1))
def test_folder_names_as_paths(name: str) -> None:
    path = mbox.encode_path(name)
    assert ".." not in path.split("/")
    assert mbox.decode_path(path) == name


# Round trips

FLAGS = st.sets(
    st.sampled_from(("\\Seen", "\\Answered", "\\Flagged", "\\Draft", "\\Deleted", "$Forwarded", "Work", "$x"))
)
MESSAGES = st.lists(
    st.tuples(
        st.sampled_from(("INBOX", "Work", "Work/Plans", "Entwürfe/.x%")),
        st.one_of(st.just(b""), st.binary(max_size=60).map(lambda data: data.replace(b"\r", b""))),
        FLAGS,
        st.integers(0, 4_000_000_000),
    ),
    max_size=8,
)


def fill(folder: Folder, content: bytes, flags: set[str], date: int) -> None:
    draft = folder.draft()
    draft.write(content)
    draft.finish()
    draft.set(sorted(flags), date)
    folder.append([draft])


def content_of(folder: Folder) -> list[tuple[bytes, list[str], int]]:
    found = []
    for uid, flagset, internal in folder.rows(("uid", "flagset", "internal"), [uid for uid, _ in folder.uids()]):
        fd = folder.open(uid)
        try:
            found.append((os.pread(fd, 1 << 20, 0), sorted(folder.account.flagsets.flags(flagset)), internal))
        finally:
            os.close(fd)
    return found


def bring(source: Source, account: MaildirAccount) -> int:
    count = 0
    for one in source.folders():
        try:
            folder = account.folder(one.name)
        except LookupError:
            folder = account.create(one.name)
        known = Known(folder)
        missing = [item for item in source.items(one) if not known.take(item)]
        intake = Intake(folder)
        for batch in batches(missing):
            for item, draft in source.fetch(one, batch, intake.make):
                intake.add(draft, item.flags, item.internal)
        intake.flush()
        count += intake.count
    source.close()
    return count


@pytest.mark.parametrize("kind", ["mbox", "maildir"])
@settings(max_examples=25, deadline=None)
@given(messages=MESSAGES)
def test_out_and_in_again(kind: str, messages: list[tuple[str, bytes, set[str], int]]) -> None:
    """Content, flags, keywords, dates and folders are kept, and a second import brings nothing."""
    with tempfile.TemporaryDirectory() as root:
        first, second = MaildirAccount(f"{root}/first"), MaildirAccount(f"{root}/second")
        for number, (name, content, flags, date) in enumerate(messages):
            try:
                folder = first.folder(name)
            except LookupError:
                folder = first.create(name)
            # An mbox has whole lines.
            fill(folder, b"Message-ID: <%d@x>\n\n%b\n" % (number // 2, content), flags, date)
        target = f"{root}/out"
        writer: Writer = _Mbox(target) if kind == "mbox" else _Maildir(target)
        assert _export(first, writer, (), All()) == len(messages)

        def source() -> Source:
            return mbox.MboxSource(target) if kind == "mbox" else MaildirSource(target)

        assert bring(source(), second) == len(messages)
        assert bring(source(), second) == 0
        names = [info.name for info in first.folders()]
        assert [info.name for info in second.folders()] == names
        for name in names:
            # A Maildir has its messages in the order of their dates.
            ours, theirs = sorted(content_of(first.folder(name))), sorted(content_of(second.folder(name)))
            assert theirs == ours
        first.close()
        second.close()


def test_transfer_between_accounts(tmp_path: Path) -> None:
    first, second = MaildirAccount(str(tmp_path / "a")), MaildirAccount(str(tmp_path / "b"))
    for number in range(250):
        fill(first.folder("INBOX"), b"Subject: %d\n\nx\n" % number, {"\\Seen"} if number % 2 else {"k"}, number)
    uids = [uid for uid, _ in first.folder("INBOX").uids()]
    assert transfer(first.folder("INBOX"), [*uids[:120], 9999, *uids[120:]], second.folder("INBOX")) == uids
    assert content_of(second.folder("INBOX")) == content_of(first.folder("INBOX"))
    first.close()
    second.close()


# What is known already


def known_of(tmp_path: Path, messages: Sequence[tuple[str, int]]) -> Known:
    account = MaildirAccount(str(tmp_path / "k"))
    for name, date in messages:
        fill(account.folder("INBOX"), b"Message-ID: <%b>\n\n" % name.encode() if name else b"A: b\n\n", set(), date)
    known = Known(account.folder("INBOX"))
    account.close()
    return known


def test_known_by_id_and_size_or_date(tmp_path: Path) -> None:
    known = known_of(tmp_path, [("a@x", 100), ("a@x", 200), ("b@x", 300), ("", 400)])
    size = len(b"Message-ID: <a@x>\r\n\r\n")
    assert known.take(Item(1, "a@x", size, 999, ()))
    # Servers are not always right about the size.
    assert known.take(Item(2, "a@x", 5, 100, ())) or known.take(Item(2, "a@x", 5, 200, ()))
    # Each is there once only.
    assert not known.take(Item(3, "a@x", size, 100, ()))
    assert not known.take(Item(4, "b@x", 5, 5, ()))
    assert known.take(Item(5, "b@x", 5, 300, ()))
    # Without an id all must be the same.
    assert not known.take(Item(6, "", len(b"A: b\r\n\r\n"), 401, ()))
    assert known.take(Item(7, "", len(b"A: b\r\n\r\n"), 400, ()))
    assert not known.take(Item(8, "", len(b"A: b\r\n\r\n"), 400, ()))


def test_an_id_with_a_space_is_known_again(tmp_path: Path) -> None:
    account = MaildirAccount(str(tmp_path / "m"))
    folder = account.folder("INBOX")
    header = b'Message-ID: <"a b"@x.example>\n'
    draft = folder.draft()
    draft.write(header + b"\nx\n")
    draft.finish()
    draft.set((), 1_700_000_000)
    folder.append([draft])
    # The size is not right: it is known by its id and date.
    assert Known(folder).take(Item(1, message_id_of(header), 999, 1_700_000_000, ()))
    account.close()


def test_batches_are_bounded() -> None:
    items = [Item(number, "", 1 << 20, 0, ()) for number in range(40)]
    sizes = [len(batch) for batch in batches(items)]
    assert sizes == [16, 16, 8]
    assert [len(batch) for batch in batches([Item(n, "", 1, 0, ()) for n in range(205)])] == [100, 100, 5]


# Words


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["all"], All()),
        (["unseen", "from", "alice"], And((Not(Flag(b"\\Seen")), Text(b"FROM", "alice")))),
        (["subject", "two words"], Text(b"SUBJECT", "two words")),
        (['subject "two words"'], Text(b"SUBJECT", "two words")),
        (["text", "会议"], Text(b"TEXT", "会议")),
        (["text 会议"], Text(b"TEXT", "会议")),
        (['text "会 议"'], Text(b"TEXT", "会 议")),
        (["subject", 'a "b" c\\'], Text(b"SUBJECT", 'a "b" c\\')),
        (["or", "(from", "bob)", "seen"], Or(Text(b"FROM", "bob"), Flag(b"\\Seen"))),
        (["or (from bob) seen"], Or(Text(b"FROM", "bob"), Flag(b"\\Seen"))),
        (["subject", "100%"], Text(b"SUBJECT", "100%")),
        (["subject", ""], Text(b"SUBJECT", "")),
        (["subject", "Photos (all)"], Text(b"SUBJECT", "Photos (all)")),
        (["subject", "发票 (all)"], Text(b"SUBJECT", "发票 (all)")),
        (["subject", '"Urgent" (all)'], Text(b"SUBJECT", '"Urgent" (all)')),
        (["subject", 'he said "no"'], Text(b"SUBJECT", 'he said "no"')),
        (["subject", '"two words"'], Text(b"SUBJECT", "two words")),
        (["or", "(from bob)", "(subject 会议)"], Or(Text(b"FROM", "bob"), Text(b"SUBJECT", "会议"))),
    ],
)
def test_searches_as_they_are_typed(words: list[str], key: object) -> None:
    assert parse(words) == key


def test_numbers_in_searches() -> None:
    assert isinstance(parse(["uid", "1:*"]), Numbers)
    assert isinstance(parse(["1,3:5"]), Numbers)


@pytest.mark.parametrize("words", [["nonsense"], ["("], ["subject"], ["return (all) all"], ["subject", "a\nb"], [""]])
def test_bad_searches(words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(words)


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_any_words_are_understood_or_refused(words: list[str]) -> None:
    try:
        parse(words)
    except ValueError:
        pass


def test_addresses() -> None:
    assert parse_address("imaps://a%40x.test@host.test") == ("host.test", 993, "tls", "a@x.test")
    assert parse_address("imap://a@x.test@[::1]:1143") == ("::1", 1143, "starttls", "a@x.test")
    assert parse_address("IMAPS://host.test/") == ("host.test", 993, "tls", "")
    assert parse_address("/some/path") is None
    assert parse_address("some:path") is None
    for bad in (
        "imaps://",
        "imaps://a:b@host",
        "imaps://a@host:99999",
        # The first is another host than was meant, the others another folder than all of them.
        "imaps://al#ice@host",
        "imaps://alice@host/Work",
        "imaps://alice@host/?Work",
    ):
        with pytest.raises(ValueError, match=r"."):
            parse_address(bad)


def test_a_password_goes_in_clear_to_this_host_only() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.1.2.3", "::1")))
    assert not any(map(is_loopback, ("127.example.com", "127.0.0.1.example.com", "192.0.2.1", "::2")))


def test_folders_by_glob() -> None:
    assert matches("inbox", "INBOX")
    assert matches("Work/*", "Work/a/b")
    assert not matches("Work/*", "Work")
    assert matches("\\sent", "Gesendet", ("\\Sent",))
    assert matches("a[b", "a[b")
