"""Changes main.cf and master.cf in place of an editor, keeping comments, order and all else as it was.

The text functions are pure. ``replace_file`` writes beside the file and renames, so that no reader sees half of it.
Postfix manual: postconf(1), the options -e, -X, -#, -M, -F, -P.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping

from tubepost.common.system import atomic
from tubepost.common.config import master_cf, master_print
from tubepost.common.config.faults import ConfigError

_SPACE = " \t\r\n\v\f"
# Not split(): that also parts words at Unicode spaces and at separators such as \x1c.
_WORD = re.compile(r"[^ \t\r\n\v\f]+")


def set_values(text: str, changes: Mapping[str, str]) -> tuple[str, list[str]]:
    """main.cf with these names set: where they stand already, else at the end in order of their names.

    Also gives the names that were found more than once; each of their lines is changed.
    """
    found: dict[str, int] = {}

    def change(lines: list[str], name: str) -> list[str]:
        if name not in changes:
            return lines
        found[name] = found.get(name, 0) + 1
        kept = [line for line in lines[1:] if _is_aside(line)]
        return [f"{name} = {changes[name]}\n", *kept]

    result = _change_entries(text, change)
    result += [f"{name} = {changes[name]}\n" for name in sorted(changes) if name not in found]
    return "".join(result), [name for name, times in found.items() if times > 1]


def remove(text: str, names: Iterable[str]) -> str:
    """main.cf without these names; comments among their continuation lines stay."""
    gone = frozenset(names)
    return "".join(
        _change_entries(
            text, lambda lines, name: [line for line in lines if _is_aside(line)] if name in gone else lines
        )
    )


def comment_out(text: str, names: Iterable[str]) -> str:
    """main.cf with ``#`` before every line of these names."""
    gone = frozenset(names)
    return "".join(
        _change_entries(
            text,
            lambda lines, name: [line if _is_aside(line) else f"#{line}" for line in lines] if name in gone else lines,
        )
    )


def edit_master(text: str, change: Callable[[master_cf.Words], str | None], *, file: str = "master.cf") -> str:
    """master.cf with each entry given to ``change``: it returns the entry as it was (None), or the new text.

    New text is whole lines, or nothing to drop the entry. Raises ConfigError for an entry that cannot be read.
    """
    result: list[str] = []
    number = 1
    for lines in _entries(text):
        if _is_aside(lines[0]) or lines[0][0] in _SPACE:
            result += lines
        else:
            content = "".join(line.rstrip("\n") for line in lines if not _is_aside(line))
            try:
                words = master_cf.words(content)
            except ValueError as error:
                raise ConfigError(str(error), file=file, line=number) from None
            changed = change(words)
            if changed is None:
                result += lines
            else:
                # As Postfix does it, what stood between the lines of the entry goes before it.
                result += [line for line in lines if _is_aside(line)]
                result.append(changed)
        number += len(lines)
    return "".join(result)


def comment_master(text: str, matches: Callable[[str, str], bool]) -> str:
    """master.cf with ``#`` before every line of the entries whose service and type match."""
    result: list[str] = []
    for lines in _entries(text):
        columns = _WORD.findall(lines[0])
        if len(columns) >= 2 and not _is_aside(lines[0]) and matches(columns[0], columns[1]):
            lines = [line if _is_aside(line) else f"#{line}" for line in lines]
        result += lines
    return "".join(result)


def replace_file(path: str, text: str) -> None:
    """Put ``text`` in the place of a file, all or nothing, with the file's permissions and owner. Raises OSError."""
    status = os.stat(path)
    data = text.encode("utf-8", "surrogateescape")
    atomic.write_file(path, data, status.st_mode & 0o777, (status.st_uid, status.st_gid))


def print_entry(words: master_cf.Words) -> str:
    """An entry as lines for the file, folded as postconf folds them."""
    return "\n".join(master_print.entry_lines(words, fold=True)) + "\n"


def _is_aside(line: str) -> bool:
    """Comment or empty."""
    stripped = line.strip(_SPACE)
    return not stripped or stripped[0] == "#"


def _entries(text: str) -> Iterable[list[str]]:
    """Physical lines, grouped: one aside, or an entry with its continuation lines and the asides among them."""
    # Not splitlines(): that also breaks at form feeds and Unicode separators.
    lines = [line + "\n" for line in text.split("\n")]
    if not text or text.endswith("\n"):
        lines.pop()
    group: list[str] = []
    asides: list[str] = []
    for line in lines:
        if _is_aside(line):
            asides.append(line)
        elif line[0] in _SPACE and group:
            group += asides
            group.append(line)
            asides = []
        else:
            if group:
                yield group
            yield from ([aside] for aside in asides)
            group, asides = [line], []
    if group:
        yield group
    yield from ([aside] for aside in asides)


def _change_entries(text: str, change: Callable[[list[str], str], list[str]]) -> list[str]:
    result: list[str] = []
    for lines in _entries(text):
        if _is_aside(lines[0]) or lines[0][0] in _SPACE:
            result += lines
        else:
            name = _WORD.match(lines[0].partition("=")[0])
            result += change(lines, name[0] if name else "")
    return result
