"""The command line of sendmail."""

from typing import Any

import pytest

from tubepost.common.config import from_text

from tubepost.commands.console import EX_USAGE, Console, Fatal
from tubepost.commands.sendmail_options import Options, parse


class Quiet(Console):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__("sendmail")
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def log(self, level: str, text: str) -> None:
        pass


def options(*words: str, name: str = "sendmail") -> Options:
    return parse(Quiet(), words, name)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-oi", "a@b"], {"dot_ends": False, "recipients": ["a@b"]}),
        (["-i", "-t"], {"dot_ends": False, "extract": True}),
        (["-it", "x"], {"dot_ends": False, "extract": True, "recipients": ["x"]}),
        (["-tfme"], {"extract": True, "sender": "me"}),
        (["-f", "", "x"], {"sender": "", "recipients": ["x"]}),
        (["-r", "r@x", "-Fa b"], {"sender": "r@x", "fullname": "a b"}),
        (["-f", "--", "x"], {"sender": "--", "recipients": ["x"]}),
        (["--", "-t"], {"extract": False, "recipients": ["-t"]}),
        (["x", "-t"], {"extract": False, "recipients": ["x", "-t"]}),
        (["-"], {"recipients": ["-"]}),
        (["-bp"], {"mode": "mailq"}),
        (["-bi"], {"mode": "newaliases"}),
        (["-I"], {"mode": "newaliases"}),
        (["-bs"], {"mode": "smtp"}),
        (["-bd", "-q1h"], {"mode": "daemon", "ignored_interval": True}),
        (["-q"], {"mode": "flush"}),
        (["-qIabc"], {"queue_id": "abc", "mode": "enqueue"}),
        (["-qRsite"], {"site": "site"}),
        (["-B8BITMIME"], {"encoding": "8bit"}),
        (["-N", "success,delay"], {"notify": ("SUCCESS", "DELAY")}),
        (["-N", "never"], {"notify": ("NEVER",)}),
        (["-R", "HDRS", "-V", "id 1"], {"ret": "HDRS", "envid": "id 1"}),
        (["-XV"], {"verp": ""}),
        (["-XV+="], {"verp": "+="}),
        (["-V", "+=", "x"], {"verp": "", "recipients": ["+=", "x"]}),
        (["-V-="], {"verp": "-="}),
        (["-v"], {"trace": "deliver", "verbose": 0}),
        (["-v", "-v"], {"trace": "", "verbose": 2}),
        (["-bv", "x"], {"trace": "probe"}),
        (["-O", "SMTPUTF8=yes"], {"smtputf8": True}),
        (["-Am", "-hn", "-L", "l", "-m", "-n", "-U", "-oem", "-o7", "-OTimeout=1", "-bm", "-pu", "x"],
         {"mode": "enqueue", "recipients": ["x"]}),
        (["-oAhash:/x", "-bi"], {"alias_database": "hash:/x", "mode": "newaliases"}),
        (["-G"], {"gateway": True}),
    ],
)  # fmt: skip
def test_what_an_option_means(words: list[str], expected: dict[str, Any]) -> None:
    found = options(*words)
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    "words",
    [
        ["-Z"], ["-f"], ["-qSx"], ["-qR"], ["-qI"], ["-bx"], ["-B", "BINARY"], ["-oA"], ["-t", "-bp"], ["-bs", "-qRx"],
        ["-bv", "-t"], ["-bv", "-N", "never"], ["-bv", "-v"], ["-bv", "-R", "full"],
    ],
)  # fmt: skip
def test_what_is_refused_as_wrong_usage(words: list[str]) -> None:
    with pytest.raises(Fatal) as caught:
        options(*words)
    assert caught.value.status == EX_USAGE


@pytest.mark.parametrize(
    ("words", "name", "kept"),
    [
        (["-N", "never,success"], "notify", ()),
        (["-N", "sometimes"], "notify", ()),
        (["-R", "half"], "ret", ""),
        (["-V", "x" * 101], "envid", ""),
        (["-V", "über"], "envid", ""),
        (["-OSMTPUTF8=perhaps"], "smtputf8", False),
    ],
)
def test_bad_values_are_told_of_and_left_out(words: list[str], name: str, kept: object) -> None:
    console = Quiet()
    found = parse(console, [*words, "x"])
    assert getattr(found, name) == kept
    assert len(console.said) == 1
    assert "ignored" in console.said[0]


def test_the_names_it_is_called_by() -> None:
    assert options(name="mailq").mode == "mailq"
    assert options(name="newaliases").mode == "newaliases"
    assert options("-bp", name="newaliases").mode == "mailq"


@pytest.mark.parametrize("given", ["/x/conf", "/x/conf/main.cf"])
def test_a_configuration_is_named_by_directory_or_by_file(given: str) -> None:
    console = Quiet()
    parse(console, ["-C", given])
    assert console.directory == "/x/conf"


def test_verp_delimiters_are_those_of_the_configuration() -> None:
    config = from_text("default_verp_delimiters = +=\nverp_delimiter_filter = -=+\n")
    plain = options("-XV", "x")
    plain.settle(config)
    assert plain.verp == "+="
    with pytest.raises(Fatal):
        options("-XV()", "x").settle(config)
