"""master.cf: columns, arguments, faults, printing and editing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.config import edit, master_cf, master_print
from tubepost.common.config.instance import shipped


def one(line: str) -> master_cf.Entry:
    entries, faults = master_cf.parse_text(line)
    assert faults == ()
    (entry,) = entries
    return entry


def faults_of(text: str) -> list[str]:
    return [fault.reason for fault in master_cf.parse_text(text)[1]]


def test_columns_and_defaults() -> None:
    entry = one("qmgr unix n - - 300? 1 qmgr")
    assert (entry.private, entry.unprivileged, entry.chroot) == (False, True, False)
    assert (entry.wakeup, entry.wakeup_if_used, entry.maxproc, entry.path) == (300.0, True, 1, "public/qmgr")
    entry = one("[::1]:25 inet - n - - - smtpd")
    assert (entry.private, entry.unprivileged, entry.wakeup, entry.maxproc, entry.path) == (False, False, 0.0, None, "")
    assert one("x unix - - - - 0 x").maxproc == 0
    assert one("x unix - - - - - x").path == "private/x"


def test_options_and_arguments() -> None:
    entry = one(
        "x unix - n n - - pipe -v -vv -D -o a=b -oc=d\n   -o { e = f g }\n # aside\n"
        "   user=x argv=cmd {an arg} ${recipient} -o"
    )
    assert entry.overrides == (("a", "b"), ("c", "d"), ("e", "f g"))
    assert entry.arguments == ("user=x", "argv=cmd", "an arg", "${recipient}", "-o")
    assert (entry.verbose, entry.debug, entry.command) == (3, True, "pipe")


def test_the_last_of_two_counts() -> None:
    entries, faults = master_cf.parse_text("a unix - - - - 1 x\na inet n - - - - y\na unix - - - - 2 z\n")
    assert {entry.name: entry.command for entry in entries} == {"a/unix": "z", "a/inet": "y"}
    assert [(fault.line, fault.severity) for fault in faults] == [(3, "warning")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("smtp inet n - n - -", "eight columns"),
        ("smtp", "eight columns"),
        ("smtp tcp n - n - - smtpd", "bad type"),
        ("smtp fifo n - n - - smtpd", "fifo is not supported"),
        ("smtp pass n - n - - smtpd", "pass is not supported"),
        ("smtp inet y - n - - smtpd", "cannot be private"),
        ("smtp inet n Y n - - smtpd", "bad unpriv"),
        ("smtp inet n - n 5s - smtpd", "bad wakeup"),
        ("smtp inet n - n - -1 smtpd", "bad maxproc"),
        ("smtp inet n - n - - ../sh", "bad command"),
        ("smtp inet n - n - - ..", "bad command"),
        ("../x unix n - n - - smtpd", "slash"),
        ("smtp inet n - n - - smtpd -o", "-o needs"),
        ("smtp inet n - n - - smtpd -o abc", "-o abc"),
        ("smtp inet n - n - - smtpd {abc", "missing }"),
        ("smtp inet n - n - - smtpd {abc}d", "white space is needed"),
        ("  smtp inet n - n - - smtpd", "white space"),
    ],
)
def test_faults(line: str, words: str) -> None:
    entries, faults = master_cf.parse_text(f"# x\n{line}\n", "/m")
    assert entries == ()
    assert any(words in fault.reason for fault in faults), faults
    assert {(fault.file, fault.line) for fault in faults} == {("/m", 2)}


def test_every_fault_in_one_pass() -> None:
    assert len(faults_of("a bad x x x x x ..\nb unix\nc unix - - - - - ok\n")) == 8


def test_the_shipped_file_is_right() -> None:
    entries, faults = master_cf.parse_text(shipped("master.cf"))
    assert faults == ()
    limits = {entry.name: entry.maxproc for entry in entries}
    assert (limits["qmgr/unix"], limits["cleanup/unix"], limits["anvil/unix"]) == (1, 0, 1)


@given(st.text(alphabet="ab{} =-o\n\t#", max_size=60))
def test_any_text_is_parsed(text: str) -> None:
    master_cf.parse_text(text)
    master_cf.parse_text(f"a unix - - - - - {text}")


@given(
    st.lists(st.from_regex(r"[a-z]{1,5}=([a-z][a-z ]{0,8})?[a-z]", fullmatch=True), max_size=3),
    st.lists(
        st.from_regex(r"[a-z]([a-z ={}]*[a-z])?", fullmatch=True).filter(
            lambda text: "{" not in text and "}" not in text
        ),
        max_size=3,
    ),
    st.booleans(),
)
def test_what_is_printed_is_parsed(options: list[str], arguments: list[str], fold: bool) -> None:
    words = ["x", "unix", "-", "n", "n", "60?", "-", "pipe"]
    for option in options:
        words += ["-o", option]
    words += arguments
    text = "\n".join(master_print.entry_lines(tuple(words), fold=fold))
    lines = text.split("\n")
    assert all(line.startswith("    ") for line in lines[1:])
    assert master_cf.words(" ".join(lines)) == tuple(words)


def test_edit_keeps_comments() -> None:
    text = "# one\na unix - - - - - x\n  -v\n# within\n  -D\n# two\nb unix - - - - - y\n"
    changed = edit.edit_master(text, lambda words: edit.print_entry((*words, "z")) if words[0] == "a" else None)
    printed = "a          unix  -       -       -       -       -       x -v -D z"
    assert changed == f"# one\n# within\n{printed}\n# two\nb unix - - - - - y\n"
    assert edit.edit_master(text, lambda words: None) == text
    assert "#a unix - - - - - x\n#  -v\n# within\n#  -D\n# two\n" in edit.comment_master(
        text, lambda name, _: name == "a"
    )


def test_there_is_one_queue_manager() -> None:
    text = "qmgr unix n - n 300 1 qmgr\nother unix n - n 300 1 qmgr\nqmgr unix n - n 60 1 qmgr\n"
    _, faults = master_cf.parse_text(text)
    errors = [str(fault) for fault in faults if fault.severity == "error"]
    assert len(errors) == 1 and "two would deliver the same messages" in errors[0]
    assert master_cf.parse_text("qmgr unix n - n 300 1 qmgr\n")[1] == ()
