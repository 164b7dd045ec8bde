"""Fuzzes what is looked up in: sources of tables, patterns, the constant database, alias and forward files.

The invariant: a table that makes no sense raises TableError or is warned of, and nothing else is raised; a database
that was damaged gives a value that was in it, or says that it is damaged; what a line of an alias file becomes was in
the line.

    python -m tests.fuzz tables -max_total_time=20
"""

import warnings

from tubepost.common.tables import cdb
from tubepost.common.tables.registry import open_table
from tubepost.common.tables.source import read_aliases, read_entries
from tubepost.common.tables.table import TableEnvironment, TableError
from tubepost.common.tables.words import SyntaxFault, inline_rules, logical_lines, parse_template, split_list

from tests.fuzz.driver import Harness
from tubepost.services.local.alias import Kind, all_targets, targets

WORDS = [
    b"user: ", b"a@b.example", b", ", b'"|cmd x"', b"|", b"/file", b":include:/x", b"\\user", b'"', b"\\", b"(", b")",
    b"\n", b"\n ", b"#", b"{", b"}", b"{ ", b" }", b"/^a/ ", b"!/b$/i ", b"if /x/\n", b"endif\n", b"REJECT $1", b"$",
    b"${1}", b"$(2)", b"[[:alpha:]]", b"a{2,3}", b"(?i:", b"*", b"+", b"?", b"[", b"]", b"^", b"|", b"10.0.0.0/8 OK",
    b"!2001:db8::/32 no", b"::1", b"1.2.3.4", b"\0", b"\xff", b"\xc3\xbc", b"key value\n", b" = ", b"x" * 50, b"\\1",
    b"\t", b"~", b"::",
]  # fmt: skip
# What the patterns of an administrator take on these is the administrator's affair, so they are short.
_KEYS = ("", "a", "user@b.example", "10.1.2.3", "2001:db8::1", "ü")


def patterned(kind: str, text: str) -> None:
    told: list[str] = []
    # No line of main.cf has one.
    text = text.replace("\0", "")
    environment = TableEnvironment(warn=told.append)
    try:
        table = open_table(f"{kind}:{text}", environment=environment, strict=True)
        for key in _KEYS:
            value = table.find(key)
            assert value is None or isinstance(value, str)
    except TableError as error:
        assert str(error)
    finally:
        environment.close()


def database(data: bytes) -> None:
    size = len(data) % 7
    pairs = [(data[place : place + size], data[place + size : place + 2 * size]) for place in range(0, 60, 5)]
    *middle, head = cdb.build(pairs)
    whole = bytearray(head + b"".join(middle))
    cdb.check(bytes(whole))
    for key, _ in pairs:
        assert cdb.find(bytes(whole), key) in [value for other, value in pairs if other == key]
    assert list(cdb.records(bytes(whole))) == pairs
    for number in range(0, min(len(data), 40) - 3, 4):
        place = int.from_bytes(data[number : number + 2], "big") % len(whole)
        whole[place] = data[number + 2]
    for damaged in (bytes(whole), bytes(whole[: len(data) * 37 % len(whole)]), data):
        try:
            cdb.check(damaged)
            for key, _ in pairs:
                value = cdb.find(damaged, key)
                assert value is None or value in damaged
            assert sum(1 for _ in cdb.records(damaged)) <= len(damaged) // 8 + 1
        except cdb.DatabaseFault:
            continue


def aliases(data: bytes, text: str) -> None:
    for target in (*targets(text), *all_targets(data, 2048)):
        assert isinstance(target.kind, Kind)
        assert target.kind is not Kind.FILE or target.value.startswith(("/", "~"))
        assert len(target.value) <= 2 * len(text) + 2
    told: list[str] = []
    lines = text.split("\n")
    for reader in (read_aliases, read_entries):
        for number, key, value in reader(lines, "x", told.append):
            assert 1 <= number <= len(lines) and key and value and "\n" not in value
    for number, line in logical_lines(lines):
        assert number and line


def words(text: str) -> None:
    joined = "".join(split_list(text))
    assert len(joined) <= len(text)
    for function in (inline_rules, parse_template):
        try:
            function(text)
        except SyntaxFault as fault:
            assert str(fault)


def check(settings: int, data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    match settings & 7:
        case 0 | 1:
            aliases(data, text)
        case 2:
            patterned("regexp", text)
        case 3:
            patterned("pcre", text)
        case 4:
            patterned("cidr", text)
        case 5:
            patterned("inline", text)
            patterned("static", text)
        case 6:
            database(data)
        case 7:
            words(text)


# Python tells of patterns that another version will read otherwise.
warnings.simplefilter("ignore", FutureWarning)
warnings.simplefilter("ignore", DeprecationWarning)
HARNESS = Harness(
    check,
    WORDS,
    [
        b'\0user: a@b.example, "|cmd x", /file, :include:/x, \\me (comment)\n',
        b"\2{ { if /x/ } { /^(a)[[:alpha:]]+$/i REJECT $1 } { endif } }",
        b"\3{ { /^(?:a|b)(c)$/E REJECT ${1} } }",
        b"\4{ { !10.0.0.0/8 OK } { ::1 no } }",
        b"\5{ a = b, { c = d e } }",
        b"\6abcdefghijklmnopqrstuvwxyz" * 3,
    ],
)
