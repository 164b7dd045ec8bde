"""regexp, pcre and cidr: rules in order, if and endif, substitution, what is refused."""

import re
import signal
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.tables import Maps, TableEnvironment, TableError, open_table, patience, posix
from tubepost.common.tables.words import SyntaxFault


def ask(kind: str, rules: str, key: str, warnings: list[str] | None = None) -> str | None:
    environment = TableEnvironment(warn=(warnings if warnings is not None else []).append)
    text = " ".join("{ " + rule + " }" for rule in rules.splitlines() if rule)
    return open_table(f"{kind}:{{ {text} }}", environment=environment, strict=True).find(key)


NESTED = """
if /^a/
/b/ ab
if !/c/
/d/ ad not c
endif
/^a$/ a
endif
/b/ b
"""


@pytest.mark.parametrize("kind", ["regexp", "pcre"])
@pytest.mark.parametrize(
    ("key", "value"), [("ab", "ab"), ("ad", "ad not c"), ("acd", None), ("A", "a"), ("xb", "b"), ("x", None)]
)
def test_nested_if(kind: str, key: str, value: str | None) -> None:
    assert ask(kind, NESTED, key) == value


@pytest.mark.parametrize("kind", ["regexp", "pcre"])
def test_substitution(kind: str) -> None:
    assert ask(kind, r"/^(.*)@(.*)$/ $2!$(1) $$x", "a@b") == "b!a $x"
    assert ask(kind, r"/^(a)|(b)$/ <$1$2>", "b") == "<b>", "a group that took no part is empty"


@pytest.mark.parametrize(
    "rule",
    ["/a/ $2", "/a/ $0", "!/a/ $1", "/(a/ x", "/a x", "/a/q x", "/(a)/ $x", "/(a)/ $(1", "word x", "!", "/[/ x"],
)
@pytest.mark.parametrize("kind", ["regexp", "pcre"])
def test_bad_rules_are_skipped_and_told(kind: str, rule: str) -> None:
    import tempfile

    warnings: list[str] = []
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(rule + "\n/./ good\n")
        file.flush()
        environment = TableEnvironment(warn=warnings.append)
        assert open_table(f"{kind}:{file.name}", environment=environment).find("a") == "good"
    assert len(warnings) == 1
    assert "line 1" in warnings[0]


def test_a_broken_if_guards_its_block() -> None:
    warnings: list[str] = []
    assert ask("pcre", "if /(/\n/a/ wrong\nendif\n/a/ right", "a", warnings) == "right"
    assert warnings


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("/^[[:alpha:]]+$/", "abC", True),
        ("/^[[:alpha:]]+$/", "ab1", False),
        ("/^[]a]+$/", "]a", True),
        ("/^[^]a]+$/", "]", False),
        (r"/^[\d]+$/", "d\\", True),
        (r"/^\d$/", "d", True),
        (r"/\<word\>/", "a word b", True),
        (r"/\<word\>/", "swords", False),
        ("/a{2,3}$/", "aa", True),
        ("/^a{2}$/", "aaa", False),
        ("/^a{,2}$/", "aa", True),
        (r"/^*a/x", "*a", True),
        (r"/a\`*/x", "a*", False),
        ("/^a**$/", "aaa", True),
        ("/^(ab)*?c$/", "ababc", True),
        ("/^a+?$/", "", True),
        (r"/^(a)\1$/", "aa", True),
        ("/a$/", "a\n", False),
        ("/a$/m", "a\nb", True),
        ("/a.b/", "a\nb", True),
        ("/a.b/m", "a\nb", False),
        ("/ABC/", "abc", True),
        ("/ABC/i", "abc", False),
        (r"/\(a\)/x", "a", True),
        ("/(a)/x", "(a)", True),
        (r"/^a\+$/x", "aaa", True),
        ("/^a+$/x", "a+", True),
        (r"/a\/b/", "a/b", True),
        ("~a/b~", "a/b", True),
        ("/ä/", "Ä", True),
        ("/[[.a.]]b/", "ab", True),
        ("/a|b|/", "zzz", True),
        ("/x(?:y)/", "xy", False),
    ],
)
def test_posix(pattern: str, key: str, matches: bool) -> None:
    assert (posix_ask(pattern, key) == "yes") is matches


@pytest.mark.parametrize("pattern", ["^a{x}$", "a{", "^*a", "*a", "a|*b", "(+a)", "${2}", r"\<*a", "{1,2}", "(?:x)"])
def test_what_the_c_library_refuses_is_refused(pattern: str) -> None:
    with pytest.raises(SyntaxFault):
        posix.translate(pattern)


def posix_ask(pattern: str, key: str) -> str | None:
    import tempfile

    with tempfile.NamedTemporaryFile("w") as file:
        file.write(pattern + " yes\n")
        file.flush()
        return open_table(f"regexp:{file.name}", environment=TableEnvironment(warn=lambda text: None)).find(key)


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        (r"/^\d+$/", "12", True),
        (r"/^\d+$/", "\u0661", False),
        (r"/a\z/", "a\n", False),
        (r"/a$/", "a\n", True),
        (r"/a$/E", "a\n", False),
        (r"/a\Z/", "a\n", True),
        (r"/b/A", "ab", False),
        (r"/^a(?i)b$/i", "aB", True),
        (r"/^a(?i)b$/i", "AB", False),
        (r"/^(?:a(?i)b|c)d$/i", "Cd", True),
        (r"/^(?:a(?i)b|c)d$/i", "cD", False),
        (r"/\Qa.b\E/", "axb", False),
        (r"/\Qa.b\E/", "a.b", True),
        (r"/^[[:digit:]]$/", "5", True),
        (r"/^(?<n>a)\1$/", "aa", True),
        (r"/^\x{e4}$/", "ä", True),
        (r"/^a++b$/", "aab", True),
        (r"/^a\h\R/", "a\t\r\n", True),
        (r"/a b # c/x", "ab", True),
        (r"/x(?#no)y/", "xy", True),
        (r"/a.b/s", "a\nb", False),
        (r"/^a\v\V$/", "a\fx", True),
        (r"/^[\v]$/", "\r", True),
        (r"/^\cA\o{101}$/", "\x01a", True),
        (r"/^[\x{41}-C\cB]+$/i", "ABC\x02", True),
        (r"/^[[:^digit:]x]+$/", "abä-", True),
        (r"/^[[:^digit:]x]+$/", "a1", False),
        (r"/^(a)?(?(1)b|c)$/", "ab", True),
        (r"/^(a)?(?(1)b|c)$/", "b", False),
        (r"/^(?<n>a)?(?(<n>)b|c)$/", "c", True),
        (r"/^a*+b$/U", "aab", True),
        (r"/^a{1,2}+ab$/U", "aab", False),
    ],
)
def test_pcre(pattern: str, key: str, matches: bool) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile("w") as file:
        file.write(pattern + " yes\n")
        file.flush()
        table = open_table(f"pcre:{file.name}", environment=TableEnvironment(warn=lambda text: None))
        assert (table.find(key) == "yes") is matches


def test_ungreedy() -> None:
    assert ask("pcre", "/^(a+)(a*)$/U <$1>", "aaa") == "<a>"
    assert ask("pcre", "/^(a+?)(a*)$/U <$1>", "aaa") == "<aaa>"


def test_substitution_can_be_forbidden() -> None:
    warnings: list[str] = []
    environment = TableEnvironment(warn=warnings.append)
    spec = "pcre:{ { /^(a)/ |$1 } { /./ safe } }"
    assert Maps([spec], environment, substitution=False).find("a") == "safe"
    assert "not allowed" in warnings[0]
    assert Maps([spec], environment).find("a") == "|a", "others that share the table keep it"
    assert Maps([f"unionmap:{{ {spec} }}"], environment, substitution=False).find("a") == "safe"


def test_time_is_bounded() -> None:
    start = time.perf_counter()
    ask("pcre", "/.*x.*y/ z", "a" * 10_000_000)
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("kind", ["regexp", "pcre"])
def test_a_pattern_that_would_take_hours_is_given_up(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    monkeypatch.setattr(patience, "TICK", 0.05)
    monkeypatch.setattr(patience, "_watched", set())
    start = time.perf_counter()
    for _ in range(2):
        with pytest.raises(TableError, match=r"line 1: .* more than 0\.05 seconds"):
            ask(kind, "/^(a+)+$/ x", "a" * 60 + "b")
    assert time.perf_counter() - start < 5
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    # Of many that are short none is long, though each tick meets one.
    table = open_table(f"{kind}:{{ {{ /^(a+)+$/ x }} }}", environment=TableEnvironment())
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.001, 0.001)
    try:
        assert all(table.find("a" * 8) == "x" for _ in range(20_000))
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


@given(st.text(alphabet="ab*+?(){}|[]^$.\\1,-:", max_size=12), st.text(alphabet="ab(1", max_size=6))
def test_posix_translation_never_crashes(pattern: str, key: str) -> None:
    for extended in (True, False):
        try:
            translated = posix.translate(pattern, extended)
        except SyntaxFault:
            continue
        try:
            re.compile(translated)
        except re.error:
            continue


@given(st.text(alphabet="ab", max_size=8))
def test_plain_posix_is_plain(key: str) -> None:
    for pattern in ("^a*b$", "^(a|b)+$", "^a?b{1,2}a*$"):
        assert bool(re.search(posix.translate(pattern), key)) == bool(re.search(pattern, key))


CIDR = """
192.168.1.1 one
!10.0.0.0/8 not ten
if 10.1.0.0/16
10.1.2.0/24 in if
endif
[2001:db8::]/32 v6
10.0.0.0/8 ten
"""


def test_cidr() -> None:
    rules = CIDR.replace("!10.0.0.0/8 not ten\n", "")
    assert ask("cidr", rules, "192.168.1.1") == "one"
    assert ask("cidr", rules, "192.168.1.2") is None
    assert ask("cidr", rules, "10.1.2.3") == "in if"
    assert ask("cidr", rules, "10.1.3.3") == "ten"
    assert ask("cidr", rules, "2001:DB8:0::1") == "v6"
    assert ask("cidr", CIDR, "1.2.3.4") == "not ten"
    assert ask("cidr", CIDR, "no.address") is None
    warnings: list[str] = []
    assert ask("cidr", "10.0.0.1/8 x\n1.2.3/24 x\n10.0.0.0/33 x\n[::1 x\n1.2.3.4\n0.0.0.0/0 all", "1.1.1.1", warnings)
    assert len(warnings) == 5
    assert "perhaps you should use" in warnings[0]
