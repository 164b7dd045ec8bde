"""master.cf: which services there are and what runs for them (Postfix manual: master(5)).

Eight columns: service, type, private, unprivileged, chroot, wake-up time, process limit, command with arguments.
``-`` takes the default. Of two lines for the same service and type the last counts.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from tubepost.common.config import mainfile
from tubepost.common.config.faults import ConfigError, Fault

Words = tuple[str, ...]
"""An entry in canonical words: eight columns, then options ("-o", "name=value") and arguments, braces taken off."""

Type = Literal["inet", "unix", "unix-dgram"]
TYPES = ("inet", "unix", "unix-dgram")
_REFUSED_TYPES = {
    "fifo": "the type fifo is not supported: use unix",
    "pass": "the type pass is not supported: use inet",
}
_SPACE = " \t\r\n\v\f"
_WORD = re.compile(r"[^ \t\r\n\v\f]+")
_GAP = re.compile(r"[ \t\r\n\v\f]*")
_GAPS = re.compile(r"[ \t\r\n\v\f]+")
_WAKEUP = re.compile(r"([0-9]{1,9})(\??)", re.ASCII)
_LIMIT = re.compile(r"[0-9]{1,9}", re.ASCII)
_COMMAND = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_COLUMNS = ("service", "type", "private", "unpriv", "chroot", "wakeup", "maxproc", "command")


@dataclass(frozen=True, slots=True)
class Entry:
    """One service. ``service`` is ``[host:]port`` for inet, else the socket's name."""

    service: str
    type: Type
    private: bool
    unprivileged: bool
    chroot: bool
    wakeup: float
    """Seconds between wake-ups; 0: none."""
    wakeup_if_used: bool
    maxproc: int | None
    """None: $default_process_limit. 0: no limit."""
    command: str
    """Name of the program."""
    arguments: tuple[str, ...] = ()
    """What is left of the command line without -o, -v and -D, braces taken off."""
    overrides: tuple[tuple[str, str], ...] = ()
    verbose: int = 0
    debug: bool = False
    file: str = ""
    line: int = 0
    fields: tuple[str, ...] = field(default=(), compare=False)
    """The eight columns as written; the last is the whole command line, white space as in the file."""

    @property
    def name(self) -> str:
        """``service/type``, as postconf -M names it."""
        return f"{self.service}/{self.type}"

    @property
    def path(self) -> str:
        """Of the socket, below queue_directory; empty for inet."""
        if self.type == "inet":
            return ""
        return f"{'private' if self.private else 'public'}/{self.service}"


def parse_text(text: str, file: str = "master.cf") -> tuple[tuple[Entry, ...], tuple[Fault, ...]]:
    """All services in order of their last line, and everything wrong with the text."""
    entries: dict[tuple[str, str], Entry] = {}
    faults: list[Fault] = []
    for number, line in mainfile.logical_lines(text):
        if line[0] in _SPACE:
            faults.append(Fault(file, number, "", "a line must not start with white space unless it continues another"))
            continue
        found = list(_parse_line(line, file, number, faults))
        for entry in found:
            earlier = entries.get((entry.service, entry.type))
            if earlier is not None:
                reason = f"the entry of line {earlier.line} for the same service and type is replaced"
                faults.append(Fault(file, number, entry.name, reason, "warning"))
            entries[entry.service, entry.type] = entry
    managers = [entry for entry in entries.values() if entry.command == "qmgr"]
    for entry in managers[1:]:
        reason = f"{managers[0].name} is a queue manager already, and two would deliver the same messages"
        faults.append(Fault(file, entry.line, entry.name, reason))
    return tuple(entries.values()), tuple(faults)


def parse(path: str) -> tuple[Entry, ...]:
    """Read master.cf. Raises ConfigError for the first fault, or when the file cannot be read."""
    entries, faults = read(path)
    for fault in faults:
        if fault.severity == "error":
            raise ConfigError(fault.reason, file=fault.file, line=fault.line, name=fault.name)
    return entries


def read(path: str) -> tuple[tuple[Entry, ...], tuple[Fault, ...]]:
    """As parse_text, of a file; one that cannot be read is a fault as well."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        return (), (Fault(path, 0, "", f"cannot read it: {error.strerror or error}"),)
    return parse_text(text, path)


def services(directory: str) -> tuple[Entry, ...]:
    """Of ``directory``/master.cf, for others than the master, who tells of wrong lines: they are left out here.

    Raises ConfigError when the file cannot be read: nothing is to be taken for absent by that.
    """
    entries, faults = read(f"{directory}/master.cf")
    for fault in faults:
        if not fault.line and fault.severity == "error":
            raise ConfigError(fault.reason, file=fault.file)
    return entries


def split_columns(line: str) -> tuple[str, ...]:
    """Up to eight columns of a logical line; the eighth is the rest of the line."""
    # Not split(None): that also parts words at Unicode spaces and at separators such as \x1c.
    columns = _GAPS.split(line.lstrip(_SPACE), 7)
    if columns[-1] == "":
        columns.pop()
    if len(columns) == 8:
        columns[7] = columns[7].rstrip(_SPACE)
    return tuple(columns)


def words(line: str) -> Words:
    """A logical line as canonical words. Raises ValueError when there are fewer than eight, or a brace is open."""
    columns = split_columns(line)
    if len(columns) < 8:
        raise ValueError("bad field count")
    command = split_command(columns[7], canonical=True)
    return (*columns[:7], *command)


def split_command(text: str, *, canonical: bool = False) -> tuple[str, ...]:
    """Program and arguments. ``{ an argument }`` is one, without its braces and the white space next to them.

    ``canonical``: -oname=value becomes two words, and white space around the = goes.
    Raises ValueError for a brace that is not closed, or text right behind one.
    """
    arguments = _split_words(text)
    if not canonical or not arguments:
        return tuple(arguments)
    result = [arguments[0]]
    index = 1
    while index < len(arguments) and arguments[index].startswith("-") and arguments[index] != "--":
        word = arguments[index]
        # One with blanks came in braces; of one with two dashes the first half would end the options: they stay whole.
        at = -1 if len(word.split()) > 1 or word.startswith("--") else word.find("o")
        if at > 0:
            # -vo name=value and -voname=value are two options each.
            result += ([word[:at]] if at > 1 else []) + ["-o"]
            value = word[at + 1 :]
            if not value and index + 1 < len(arguments):
                index += 1
                value = arguments[index]
            if value:
                try:
                    value = "=".join(mainfile.split_setting(value))
                except ValueError:
                    pass
                result.append(value)
        else:
            result.append(word)
        index += 1
    return (*result, *arguments[index:])


def _split_words(text: str) -> list[str]:
    arguments: list[str] = []
    position = 0
    while True:
        gap = _GAP.match(text, position)
        position = gap.end() if gap else len(text)
        if position >= len(text):
            return arguments
        if text[position] != "{":
            word = _WORD.match(text, position)
            assert word is not None
            arguments.append(word[0])
            position = word.end()
            continue
        end = _closing_brace(text, position)
        if end < 0:
            raise ValueError(f'missing }} in "{text[position : position + 40]}"')
        if end + 1 < len(text) and text[end + 1] not in _SPACE:
            raise ValueError(f'white space is needed after }} in "{text[position : end + 20]}"')
        arguments.append(text[position + 1 : end].strip(_SPACE))
        position = end + 1


def _closing_brace(text: str, opening: int) -> int:
    level = 0
    for match in re.finditer(r"[{}]", text[opening:]):
        level += 1 if match[0] == "{" else -1
        if level == 0:
            return opening + match.start()
    return -1


def _parse_line(line: str, file: str, number: int, faults: list[Fault]) -> Iterator[Entry]:
    """The entry of a line, unless something is wrong with it: then every fault of it is added."""
    columns = split_columns(line)
    if len(columns) < 8:
        missing = _COLUMNS[len(columns)]
        faults.append(
            Fault(file, number, columns[0], f"eight columns are needed: {missing} and what follows is missing")
        )
        return
    service, kind, private, unprivileged, chroot, wakeup, limit, command_line = columns
    wrong: list[str] = []
    if kind in _REFUSED_TYPES:
        wrong.append(_REFUSED_TYPES[kind])
    elif kind not in TYPES:
        wrong.append(f'bad type "{kind}": write one of {", ".join(TYPES)}')
    is_private = _flag(private, kind != "inet", "private", wrong)
    if kind == "inet" and private == "y":
        wrong.append("an inet service cannot be private: write n")
    is_unprivileged = _flag(unprivileged, True, "unpriv", wrong)
    is_chroot = _flag(chroot, False, "chroot", wrong)
    wakeup_match = _WAKEUP.fullmatch("0" if wakeup == "-" else wakeup)
    if wakeup_match is None:
        wrong.append(f'bad wakeup "{wakeup}": write seconds, with ? behind them for services in use only')
    if limit != "-" and _LIMIT.fullmatch(limit) is None:
        wrong.append(f'bad maxproc "{limit}": write a number, 0 for no limit')
    if kind != "inet" and ("/" in service or service in (".", "..")):
        wrong.append("the name of a socket must not hold a slash")
    command = ""
    arguments: tuple[str, ...] = ()
    overrides: tuple[tuple[str, str], ...] = ()
    verbose, debug = 0, False
    try:
        parts = split_command(command_line)
        command = parts[0]
        if _COMMAND.fullmatch(command) is None or command in (".", ".."):
            wrong.append(f'bad command "{command}": write the name of a program')
        arguments, overrides, verbose, debug = _split_options(parts[1:])
    except ValueError as error:
        wrong.append(str(error))
    faults.extend(Fault(file, number, f"{service}/{kind}", reason) for reason in wrong)
    if wrong or wakeup_match is None:
        return
    yield Entry(
        service=service,
        type=cast(Type, kind),
        private=is_private,
        unprivileged=is_unprivileged,
        chroot=is_chroot,
        wakeup=float(wakeup_match[1]),
        wakeup_if_used=bool(wakeup_match[2]),
        maxproc=None if limit == "-" else int(limit),
        command=command,
        arguments=arguments,
        overrides=overrides,
        verbose=verbose,
        debug=debug,
        file=file,
        line=number,
        fields=columns,
    )


def _flag(text: str, default: bool, column: str, wrong: list[str]) -> bool:
    if text == "-":
        return default
    if text not in ("y", "n"):
        wrong.append(f'bad {column} "{text}": write y, n or -')
    return text == "y"


def _split_options(
    words: tuple[str, ...],
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...], int, bool]:
    """(arguments, overrides, how often -v, whether -D). Raises ValueError for -o without name=value.

    Options stand before the arguments; the first word that is not an option ends them.
    """
    overrides: list[tuple[str, str]] = []
    verbose = 0
    debug = False
    index = 0
    while index < len(words):
        word = words[index]
        if word == "-o" or word.startswith("-o"):
            text = word[2:]
            if not text:
                index += 1
                if index >= len(words):
                    raise ValueError("-o needs name=value behind it")
                text = words[index]
            try:
                overrides.append(mainfile.split_setting(text))
            except ValueError as error:
                raise ValueError(f"-o {text[:40]}: {error}") from None
        elif word.startswith("-v") and set(word[1:]) == {"v"}:
            verbose += len(word) - 1
        elif word == "-D":
            debug = True
        else:
            break
        index += 1
    return words[index:], tuple(overrides), verbose, debug
