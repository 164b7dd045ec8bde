"""The command line of postconf: its options and what goes together, patterns of services, files and complaints."""

import getopt
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tubepost.common.config import mainfile, master_print, show

DEFAULT_DIRECTORY = "/etc/tubepost"

_OPTIONS = "bc:C:deEfFhHmMno:pPqtvxX#"
_MAJOR = "btmpMFP"
_EXCLUSIVE = ("btmpMFP", "den#X", "fe#X", "xe#X", "ode#X", "he#XH")
# In complaints options are named in this order.
_ORDER = "bCdefFhHmMnopPtxX#"
# What each major mode may be combined with; -e, -X, -# and the rest as in Postfix.
_COMPATIBLE = {
    "b": "o",
    "t": "o",
    "m": "",
    "p": "eX#fhCxdnoH",
    "M": "eX#fox",
    "F": "efhoxH",
    "P": "eXfhoxH",
}
_USAGE = (
    "usage: postconf [-b (bounce texts)] [-c config_dir] [-C param_class] [-d (parameter defaults)] "
    "[-e (edit configuration)] [-f (fold lines)] [-F (master.cf fields)] [-h (no names)] [-H (no values)] "
    "[-m (map types)] [-M (master.cf)] [-n (non-default parameters)] [-o name=value (override parameter value)] "
    "[-p (main.cf, default)] [-P (master.cf parameters)] [-q (no warnings)] [-t (bounce templates)] "
    "[-v (verbose)] [-x (expand parameter values)] [-X (exclude)] "
    "[-# (comment-out)] [name...]"
)


class Fatal(Exception):
    """Ends the program; the argument is for the user."""


class Command:
    """One run: the options, and where the files are."""

    def __init__(self, arguments: Sequence[str]) -> None:
        try:
            options, self.names = getopt.getopt(list(arguments), _OPTIONS)
        except getopt.GetoptError as error:
            print(f"postconf: {error}", file=sys.stderr)
            raise Fatal(_USAGE) from None
        self.directory = os.environ.get("MAIL_CONFIG", "")
        self.parameter_class = "all"
        self.overrides: dict[str, str] = {}
        letters: set[str] = set()
        for option, value in options:
            letter = option[1]
            letters.add(letter)
            if letter == "c":
                self.directory = value
            elif letter == "C":
                if value.lower() not in (*show.CLASSES, "all"):
                    raise Fatal(f'unknown -C option value "{value}" in "{value}"')
                self.parameter_class = value.lower()
            elif letter == "o":
                try:
                    name, text = mainfile.split_setting(value)
                except ValueError as error:
                    raise Fatal(f"invalid parameter override: {value}: {error}") from None
                self.overrides[name] = text
        self.letters = letters - set("cqv")
        self.quiet = "q" in letters
        if not self.letters & set(_MAJOR):
            self.letters.add("p")
        if self.names and "=" in self.names[0] and not self.letters & set("mbt"):
            self.letters.add("e")
        self._check_combination()

    def _check_combination(self) -> None:
        for group in _EXCLUSIVE:
            given = [letter for letter in group if letter in self.letters]
            if len(given) > 1:
                raise Fatal(f"specify one of {' '.join(f'-{letter}' for letter in sorted(given, key=_ORDER.index))}")
        for major in _MAJOR:
            excess = self.letters - set(_COMPATIBLE[major]) - {major}
            if major in self.letters and excess:
                listed = " ".join(f"-{letter}" for letter in sorted(excess, key=_ORDER.index))
                raise Fatal(f"with option -{major}, do not specify {listed}")
        if "e" in self.letters and not self.names:
            raise Fatal("-e requires name=value argument")
        if self.letters & set("X#") and not self.names:
            raise Fatal("missing service argument")

    def path(self, name: str) -> str:
        return f"{self.directory or DEFAULT_DIRECTORY}/{name}"

    def has(self, letter: str) -> bool:
        return letter in self.letters


def pattern_of(text: str, least: int, most: int, complaint: str) -> tuple[str, ...]:
    """``service/type/what`` in parts, with ``*`` for those that are missing. Raises Fatal."""
    parts = [part for part in text.split("/") if part]
    if text.startswith("/") or not least <= len(parts) <= most or any("*" in part and part != "*" for part in parts):
        raise Fatal(complaint)
    return (*parts, *["*"] * (most - len(parts)))


def matches(pattern: Sequence[str], words: Sequence[str]) -> bool:
    """Is the service of this entry (or its name and type) one that the pattern means?"""
    return pattern[0] in ("*", words[0]) and pattern[1] in ("*", words[1])


def field_of(name: str) -> int:
    """The column of master.cf, -1 for all. Raises Fatal."""
    if name == "*":
        return -1
    try:
        return master_print.FIELDS.index(name)
    except ValueError:
        raise Fatal(f'invalid service attribute name: "{name}"') from None


def split(text: str, argument: str) -> tuple[str, str]:
    """``name = value``; ``argument`` is named in the complaint. Raises Fatal."""
    try:
        return mainfile.split_setting(text)
    except ValueError as error:
        raise Fatal(f'{error}: "{argument}"') from None


def read(path: str) -> str:
    """A configuration file. Raises Fatal."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise Fatal(f"open {path}: {error.strerror or error}") from None


def warn(text: str) -> None:
    """Behind what was printed before."""
    sys.stdout.flush()
    print(f"postconf: warning: {text}", file=sys.stderr)
