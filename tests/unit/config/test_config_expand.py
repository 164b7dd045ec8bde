"""Expansion: the forms of postconf(5), bad syntax, and that no text makes it loop, explode or raise anything else."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubepost.common.config import ConfigError, from_text
from tubepost.common.config.expand import ExpandError, expand, references

VALUES = {"a": "A", "empty": "", "n9": "9", "n10": "10", "big": "9" * 30}


def run(text: str) -> str:
    return expand(text, VALUES.get)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$a", "A"),
        ("${a}", "A"),
        ("$(a)", "A"),
        ("$a-b", "A-b"),
        ("$ab", ""),
        ("$$a", "$a"),
        ("$$$a", "$A"),
        ("100$$", "100$"),
        ("${ a }", "A"),
        ("${a?yes}", "yes"),
        ("${a?{yes}}", "yes"),
        ("${empty?yes}", ""),
        ("${nothing?yes}", ""),
        ("${a:no}", ""),
        ("${empty:no}", "no"),
        ("${empty:{no}}", "no"),
        ("${a?{one}:{two}}", "one"),
        ("${empty?{one}:{two}}", "two"),
        ("${empty ? {one} : {two}}", "two"),
        ("${empty?{one}:two}", "two"),
        # Since Postfix 2.2 everything behind ? is text, colons and braces too.
        ("${a?x:y}", "x:y"),
        ("${a??foo:{b}ar}", "?foo:{b}ar"),
        ("${a?{ spaced }}", " spaced "),
        ("${a?{$a$a}}", "AA"),
        ("${a?{${empty:{deep}}}}", "deep"),
        ("${{$a} == {A}}", "true"),
        ("${{$a} != {A}}", ""),
        ("${{$n9} < {$n10} ? {number} : {text}}", "number"),
        ("${{x$n9} < {x$n10} ? {number} : {text}}", "text"),
        ("${{9} <= {9}?{y}:{n}}", "y"),
        ("${{9} >= {10}?{y}:{n}}", "n"),
        ("${{b} > {a}?{y}}", "y"),
        ("${{} == {}?{y}:{n}}", "y"),
        ("${{007} == {7}?{y}:{n}}", "y"),
    ],
)
def test_forms(text: str, expected: str) -> None:
    assert run(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "$",
        "$ a",
        "${}",
        "${",
        "${a",
        "$(a",
        "${a-b}",
        "${a b}",
        "${?x}",
        "${a?{x}y}",
        "${a?{x}:{y}z}",
        "${a?{x}",
        "${{a} = {b}}",
        "${{a} == b}",
        "${{a} == {b} x}",
        "${{a}}",
        "${{$big} < {1}}",
    ],
)
def test_bad_syntax_is_an_error(text: str) -> None:
    with pytest.raises(ExpandError):
        run(text)


def test_the_branch_not_taken_is_not_expanded() -> None:
    assert run("${a?{x}:{$}}") == "x"


def test_references_of_all_branches() -> None:
    assert references("$a ${b?{$c}:{$d}} ${{$e} == {$f}?$g} $$h $") == set("abcdefg")


def test_deep_nesting_is_an_error_not_a_crash() -> None:
    with pytest.raises(ExpandError, match="nested"):
        run("${a?{" * 5000 + "}}" * 5000)


def test_nested_braces_cost_little_time() -> None:
    started = time.process_time()
    with pytest.raises(ExpandError):
        run("${a?" * 20000 + "}" * 20000)
    assert time.process_time() - started < 2


def test_doubling_values_stop() -> None:
    lines = ["v0 = xxxxxxxx"] + [f"v{number} = $v{number - 1}$v{number - 1}" for number in range(1, 60)]
    with pytest.raises(ConfigError, match="grows"):
        from_text("\n".join(lines)).raw("v59")


def test_doubling_references_to_nothing_take_linear_time() -> None:
    lines = ["v0 ="] + [f"v{number} = $v{number - 1}$v{number - 1}" for number in range(1, 60)]
    started = time.process_time()
    assert from_text("\n".join(lines)).raw("v59") == ""
    assert time.process_time() - started < 1


def test_a_circle_is_named() -> None:
    with pytest.raises(ConfigError, match="one -> two -> three -> one"):
        from_text("one = $two\ntwo = ${three}\nthree = ${x:$one}").raw("one")


def test_a_long_chain_is_an_error() -> None:
    lines = [f"v{number} = $v{number + 1}" for number in range(5000)]
    with pytest.raises(ConfigError, match="100 deep"):
        from_text("\n".join(lines)).raw("v0")


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="$${}(){}?:=<>! ab1", max_size=60))
def test_any_text_expands_or_is_refused(text: str) -> None:
    try:
        expanded = expand(text, VALUES.get)
    except ExpandError:
        return
    assert len(expanded) <= 1 << 20


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from("abcd"), st.text(alphabet="$${}?:= abcd", max_size=25), max_size=4))
def test_any_file_expands_or_is_refused(texts: dict[str, str]) -> None:
    config = from_text("\n".join(f"{name} = {text}" for name, text in texts.items()))
    for name in texts:
        try:
            config.raw(name)
        except ConfigError as error:
            assert error.name
    config.check()


@given(st.text(max_size=50))
def test_dollar_signs_doubled_are_plain_text(text: str) -> None:
    assert expand(text.replace("$", "$$"), VALUES.get) == text
