"""postmap here and Debian's Postfix postmap, on the same sources and keys."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

POSTMAP = shutil.which("postmap", path="/usr/sbin:/usr/bin:/sbin")
pytestmark = pytest.mark.skipif(POSTMAP is None, reason="Postfix is not installed")


def theirs(conf: Path, *arguments: str, text: str = "", program: str = "postmap") -> tuple[int, str]:
    path = str(Path(POSTMAP or "").with_name(program))
    done = subprocess.run(
        [path, "-c", str(conf), *arguments], input=text.encode(), capture_output=True, timeout=20, check=False
    )
    return done.returncode, done.stdout.decode()


def ours(conf: Path, *arguments: str, text: str = "", program: str = "postmap") -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", f"tubepost.commands.{program}", "-c", str(conf), *arguments],
        input=text.encode(),
        capture_output=True,
        timeout=20,
        check=False,
    )
    return done.returncode, done.stdout.decode()


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    directory = tmp_path / "conf"
    directory.mkdir()
    (directory / "main.cf").write_text(
        "myhostname = mx.example.test\ndefault_database_type = hash\nsmtputf8_enable = yes\n"
    )
    # Postfix waits for a configuration that was just written to cool down.
    os.utime(directory / "main.cf", (1, 1))
    return directory


TEXT = """# comment
User@Example.test    other@example.test
  continued, more
"quoted key"@x.test value
a\\ b c
über@bücher.test wert
key:colon value
lone
"unbalanced value
 leading continuation of nothing wrong
dup one
DUP two
"""
REGEXP = r"""
/^(.*)-outgoing@(.*)$/  550 Use ${1}@$(2) instead $$
if /^a/
!/b$/ not b
/^a(.)b$/i case $1
endif
/[[:digit:]]{2,3}$/ digits
/^x(y)?z$/ <$1>
/^(a|ab)(c|bcd)$/ alternatives
/^q\.r$/ dot
/^l*$/ stars
/\<word\>/ word
/bad(/ never
if /^m/
/n$/ $1
endif
"""
CIDR = """
192.168.1.1 one
if 10.0.0.0/8
!10.1.0.0/16 not 10.1
10.1.2.0/24 two
endif
2001:db8::/32 six
10.0.0.1/8 wrong
[::1] loop
0.0.0.0/0 all
"""
KEYS = {
    "texthash": [
        "user@example.test", "USER@EXAMPLE.TEST", '"quoted key"@x.test', "quoted key@x.test", "a\\ b",
        "über@bücher.test", "ÜBER@bücher.test", "key:colon", "lone", "dup", "", "leading", "nothing",
    ],
    "regexp": [
        "list-outgoing@x", "a", "ab", "aXb", "a2b", "axb", "12", "1", "9999", "xyz", "xz", "abcd", "q.r", "qxr", "lll",
        "", "a word here", "swords", "mn",
    ],
    "cidr": [
        "192.168.1.1", "192.168.1.2", "10.2.3.4", "10.1.2.3", "10.1.3.3", "2001:DB8::7", "::1", "::2",
        "0:0:0:0:0:0:0:1", "host", "", "1.2.3",
    ],
}  # fmt: skip
SOURCES = {"texthash": TEXT, "regexp": REGEXP, "pcre": REGEXP, "cidr": CIDR}


@pytest.mark.parametrize("kind", ["texthash", "regexp", "pcre", "cidr"])
def test_file_tables(kind: str, conf: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    rules = SOURCES[kind]
    if kind == "pcre":
        # GNU word boundaries are not Perl's.
        rules = rules.replace(r"\<word\>", r"\bword\b")
    source.write_text(rules)
    os.utime(source, (1, 1))
    keys = "".join(key + "\n" for key in KEYS.get(kind, KEYS["regexp"]))
    assert ours(conf, "-q", "-", f"{kind}:{source}", text=keys) == theirs(
        conf, "-q", "-", f"{kind}:{source}", text=keys
    )


@pytest.mark.parametrize(
    "spec",
    [
        "inline:{a=1, b = 2, {c = three four}, A=5}",
        "static:xyz",
        "static:{ x y }",
        "unionmap:{inline:{a=1},inline:{a=2,b=3}}",
        "pipemap:{inline:{a=b},inline:{b=c}}",
        "randmap:{one}",
        "regexp:{{/a/ x} {/b/ y}}",
        "cidr:{{10.0.0.0/8 x}}",
        "fail:x",
        "inline:{a}",
        "unionmap:{}",
        "unix:passwd.byname",
        "environ:",
        "nonsense:x",
    ],
)
def test_tables_in_a_name(spec: str, conf: Path) -> None:
    keys = "a\nA\nb\nc\nzz\nroot\n10.1.1.1\n"
    assert ours(conf, "-q", "-", spec, text=keys) == theirs(conf, "-q", "-", spec, text=keys)
    assert ours(conf, "-q", "A", spec) == theirs(conf, "-q", "A", spec)


def test_built_tables_answer_alike(conf: Path, tmp_path: Path) -> None:
    results = []
    for name, run in (("ours", ours), ("theirs", theirs)):
        source = tmp_path / name
        source.write_text(TEXT)
        results.append(
            [
                run(conf, f"hash:{source}"),
                run(conf, "-q", "-", f"hash:{source}", text="".join(key + "\n" for key in KEYS["texthash"])),
                run(conf, "-i", f"hash:{source}", text="dup three\nnew four\n"),
                run(conf, "-r", "-i", f"hash:{source}", text="dup five\n"),
                run(conf, "-q", "dup", f"hash:{source}"),
                run(conf, "-d", "NEW", f"hash:{source}"),
                run(conf, "-d", "new", f"hash:{source}"),
                run(conf, "-q", "new", f"hash:{source}"),
                run(conf, "-q", "x", f"hash:{source}-missing"),
                (lambda result: (result[0], "".join(sorted(result[1].splitlines(True)))))(
                    run(conf, "-s", f"hash:{source}")
                ),
            ]
        )
    assert results[0] == results[1]


def test_aliases_answer_alike(conf: Path, tmp_path: Path) -> None:
    results = []
    for name, run in (("ours", ours), ("theirs", theirs)):
        source = tmp_path / name
        source.write_text('Root: bob\nlist: a,b,\n  c\npipe: "|/bin/x y, z"\nf: /file, :include:/list\nbad\nx@y: z\n')
        keys = "root\nlist\npipe\nf\nbad\n@\n"
        results.append(
            [
                run(conf, f"hash:{source}", program="postalias"),
                run(conf, "-q", "-", f"hash:{source}", text=keys, program="postalias"),
            ]
        )
    assert results[0] == results[1]


MESSAGE = """Subject: one
 two
Content-Type: multipart/mixed; boundary=x

preamble
--x
Content-Type: text/plain

part
--x
Content-Type: message/rfc822

Subject: inner

inner body
--x--
end
"""


@pytest.mark.parametrize("flags", ["-h", "-b", "-bh", "-hm", "-bm", "-bhm"])
def test_message_keys(flags: str, conf: Path, tmp_path: Path) -> None:
    source = tmp_path / "all"
    source.write_text("/./ yes\n")
    for text in (MESSAGE, "no header\nat all\n", "A: b\nno empty line\n"):
        assert ours(conf, flags, "-q", "-", f"regexp:{source}", text=text) == theirs(
            conf, flags, "-q", "-", f"regexp:{source}", text=text
        )


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["-q"],
        ["-q", "a", "-s", "static:x"],
        ["-b", "-q", "a", "static:x"],
        ["-s", "static:x"],
        ["-z"],
        ["regexp:x"],
    ],
)
def test_wrong_use(arguments: list[str], conf: Path) -> None:
    assert ours(conf, *arguments)[0] == theirs(conf, *arguments)[0] == 1


def test_lmdb_is_shared(conf: Path, tmp_path: Path) -> None:
    """The file format is the same: each reads what the other built."""
    pytest.importorskip("lmdb")
    for name, build, ask in (("a", ours, theirs), ("b", theirs, ours)):
        source = tmp_path / name
        source.write_text("Key value one\nother two\n")
        status, _ = build(conf, f"lmdb:{source}")
        if status:
            pytest.skip("this Postfix has no lmdb")
        assert ask(conf, "-q", "key", f"lmdb:{source}") == (0, "value one\n")
        assert ask(conf, "-q", "none", f"lmdb:{source}") == (1, "")
