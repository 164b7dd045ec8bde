"""Fuzzes names: of folders and their directories, of messages and their flags, modified UTF-7, LIST patterns, and the
lists that other servers left in a Maildir.

The invariant: nothing but BadName is raised; a directory stays within its Maildir, is a name that a file system takes,
and is that of one folder only; flags that were written are read again; what Dovecot left gives UIDs that rise.

    python -m tests.fuzz mailbox_names -max_total_time=20
"""

import os
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

from tubepost.common.imap import errors as imap_errors
from tubepost.common.imap import names as imap_names
from tubepost.common.imap.names import Pattern, decode_utf7, encode_utf7

from tubepost.common.mailbox.maildir import migration, names
from tubepost.common.mailbox.values import BadName

from tests.fuzz.driver import Harness

WORDS = [
    b"INBOX", b"inbox", b"/", b".", b"&", b"&-", b"&AC4-", b"&IKw-", b"-", b"..", b"\0", b"\n", b"\xc3\xbc", b"\xff",
    b"%", b"*", b":2,", b":2,FS", b"1700.M1P2.host", b"abc", b"x" * 60, b"3 V1 N9 G0\n", b"1 :1700.a:2,S\n", b" :",
    b"4294967295 :z\n", b"V\t2\n", b"\t", b"0 $Forwarded\n", b"INBOX.a\n", b"\xc2\xb2 :x\n", b"9" * 30, b"~",
    b"&2D3cAA-",
]  # fmt: skip
_DIRECTORY = tempfile.mkdtemp(prefix="fuzz-names-")


def attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """Its value, or None where it says that there is no such name."""
    try:
        return function(*arguments)
    except (BadName, imap_errors.BadName):
        return None


def folders(data: bytes, text: str) -> None:
    directory = attempt(names.directory_of, text)
    if directory:
        assert directory.startswith(".") and directory not in (".", "..") and "/" not in directory
        assert len(os.fsencode(directory)) <= 255 and directory.isascii() and directory.isprintable()
        assert ".." not in directory, "an empty part"
        back = names.folder_of(directory)
        assert back == text or (back is None and text.upper() == "INBOX"), f"{text!r} -> {directory!r} -> {back!r}"
    found = names.folder_of(text)
    if found is not None:
        assert names.directory_of(found) == text
    for utf8 in (False, True):
        name = attempt(partial(imap_names.decode, data, utf8=utf8))
        if name is not None:
            written = attempt(partial(imap_names.encode, name, utf8=utf8))
            assert written is not None and imap_names.decode(written, utf8=utf8) == name
            attempt(names.directory_of, name)
    try:
        assert encode_utf7(decode_utf7(data)) == data
    except ValueError:
        pass
    assert not imap_names.is_below(text, text)
    assert sum(1 for _ in imap_names.parents(text)) <= text.count("/")


def patterns(text: str) -> None:
    name, _, pattern = text.partition("\n")
    matcher = Pattern(pattern[:1000])
    found = matcher.match(name[:1000])
    assert not (found and "*" not in pattern and "%" not in pattern and name.casefold() != pattern[:1000].casefold())
    assert Pattern("*").match(name[:1000])
    assert Pattern("%").match(name[:1000]) == ("/" not in name[:1000])


def flags(text: str) -> None:
    unique, info = names.split_file(text)
    assert unique + info == text
    keywords = {letter: f"key{letter}" for letter in names.KEYWORD_LETTERS}
    told = names.flags_of(info, keywords) if info else []
    again = names.info_of(told, {keyword: letter for letter, keyword in keywords.items()})
    assert sorted(names.flags_of(again, keywords)) == sorted(told)
    assert names.email_id(text)[1:].isalnum()


def left_behind(data: bytes) -> None:
    for name in ("dovecot-uidlist", "dovecot-keywords", "subscriptions", "courierimapsubscribed"):
        with open(f"{_DIRECTORY}/{name}", "wb") as file:
            file.write(data)
    found = migration.read_uidlist(_DIRECTORY)
    if found is not None:
        uids = list(found.uids.values())
        assert len(uids) == len(set(uids)) and all(0 < uid < found.uidnext for uid in uids)
        assert 0 < found.uidvalidity <= 0xFFFFFFFF and 0 < found.uidnext <= 0xFFFFFFFF
    for letter, keyword in migration.read_keywords(_DIRECTORY).items():
        assert letter in names.KEYWORD_LETTERS and keyword
    for name in migration.read_subscriptions(_DIRECTORY):
        attempt(names.directory_of, name)
    os.unlink(f"{_DIRECTORY}/subscriptions")
    for name in migration.read_subscriptions(_DIRECTORY):
        attempt(names.directory_of, name)


def check(settings: int, data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    match settings & 3:
        case 0:
            folders(data, text)
        case 1:
            patterns(text)
        case 2:
            flags(text)
        case 3:
            left_behind(data)


HARNESS = Harness(
    check,
    WORDS,
    [b"\3" + b"3 V1 N9 G0\n1 :1700.a:2,S\n7 W20 S10 :1701.b\n",
     b"\0Work/&IKw-/Plans", b"\1a/b\na/%*"],
)  # fmt: skip
