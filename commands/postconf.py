"""postconf: shows and changes the configuration (Postfix manual: postconf(1)).

    postconf [-dfhHnopqvx] [-c dir] [-C class] [name ...]        main.cf
    postconf [-e] name=value ...;  postconf -X name ...;  postconf -# name ...
    postconf -M [-f] [-o n=v] [-x] [service[/type] ...];  -Me service/type=text;  -MX, -M# service/type
    postconf -F [...] [service[/type[/field]] ...];  -Fe service/type/field=text
    postconf -P [...] [service[/type[/parameter]] ...];  -Pe service/type/parameter=text;  -PX
    postconf -m                                                  table types
    postconf -b [file];  postconf -t [file]                      the texts of bounces, filled in, or as they are written

Not here: -a -A -T (SASL and TLS libraries), -l, -j.
"""

import getopt
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tubepost.common.mail import template
from tubepost.common.config import edit, load, mainfile, master_cf, master_print, show, templates
from tubepost.common.config.faults import ConfigError
from tubepost.common.config.settings import suggest
from tubepost.common.tables import known_types

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


class _Fatal(Exception):
    """Ends the program; the argument is for the user."""


class _Command:
    """One run: the options, and where the files are."""

    def __init__(self, arguments: Sequence[str]) -> None:
        try:
            options, self.names = getopt.getopt(list(arguments), _OPTIONS)
        except getopt.GetoptError as error:
            print(f"postconf: {error}", file=sys.stderr)
            raise _Fatal(_USAGE) from None
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
                    raise _Fatal(f'unknown -C option value "{value}" in "{value}"')
                self.parameter_class = value.lower()
            elif letter == "o":
                try:
                    name, text = mainfile.split_setting(value)
                except ValueError as error:
                    raise _Fatal(f"invalid parameter override: {value}: {error}") from None
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
                raise _Fatal(f"specify one of {' '.join(f'-{letter}' for letter in sorted(given, key=_ORDER.index))}")
        for major in _MAJOR:
            excess = self.letters - set(_COMPATIBLE[major]) - {major}
            if major in self.letters and excess:
                listed = " ".join(f"-{letter}" for letter in sorted(excess, key=_ORDER.index))
                raise _Fatal(f"with option -{major}, do not specify {listed}")
        if "e" in self.letters and not self.names:
            raise _Fatal("-e requires name=value argument")
        if self.letters & set("X#") and not self.names:
            raise _Fatal("missing service argument")

    def path(self, name: str) -> str:
        return f"{self.directory or DEFAULT_DIRECTORY}/{name}"

    def has(self, letter: str) -> bool:
        return letter in self.letters


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 when done, 1 when not, with the reason on standard error."""
    # Values may hold bytes that are not UTF-8; they go out as they came in.
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="surrogateescape")
    try:
        _run(_Command(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except _Fatal as error:
        print(f"postconf: fatal: {error}", file=sys.stderr)
        return 1
    except ConfigError as error:
        print(f"postconf: fatal: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader (head, less) has had enough; nothing is left to say, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _run(command: _Command) -> None:
    if command.has("m"):
        for name in sorted(known_types()):
            print(name)
    elif command.letters & set("bt"):
        _show_templates(command)
    elif command.letters & set("eX#"):
        if command.has("p"):
            _edit_main(command)
        elif command.has("M"):
            _edit_entries(command)
        else:
            _edit_fields(command)
    else:
        _show(command)


# Showing.


def _show(command: _Command) -> None:
    texts: dict[str, str] = {}
    if not command.has("d"):
        settings, faults = mainfile.parse(_read(command.path("main.cf")), command.path("main.cf"))
        for fault in faults:
            if fault.severity == "error":
                raise _Fatal(str(fault))
            _warn(f"{fault.file}, line {fault.line}: {fault.reason}")
        texts = {setting.name: setting.value for setting in settings}
        if command.directory:
            texts["config_directory"] = command.directory
        texts |= command.overrides
    entries = _read_entries(command)
    directory = command.directory or DEFAULT_DIRECTORY
    parameters = show.Parameters(directory, texts, entries, defaults=command.has("d"))
    if not command.has("d"):
        _warn_all(command, parameters.undefined())
    if command.has("M"):
        _show_entries(command, parameters)
    elif command.has("F"):
        _show_fields(command, parameters)
    elif command.has("P"):
        _show_options(command, parameters)
    else:
        _show_parameters(command, parameters)
    sys.stdout.flush()
    if not command.has("d"):
        if command.has("p"):
            _warn_all(command, parameters.unused_in_main())
        _warn_all(command, parameters.unused_in_master())


def _show_parameters(command: _Command, parameters: show.Parameters) -> None:
    names = command.names
    if not names:
        wanted = command.parameter_class
        names = sorted(name for name, kind in parameters.classes.items() if wanted in (kind, "all"))
    for name in names:
        if name not in parameters.classes:
            _warn(f"{name}: unknown parameter{suggest(name)}")
            continue
        text = parameters.lookup(name, explicit=command.has("n"))
        if text is not None:
            if command.has("x") and not command.has("H"):
                text = parameters.expand(name, text)
            _print_value(command, name, text)


def _print_value(command: _Command, name: str, text: str) -> None:
    if command.has("H"):
        shown = name
    elif command.has("h"):
        shown = text
    else:
        shown = f"{name} = {text}"
    _print(master_print.text_lines(shown, fold=command.has("f")))


def _show_entries(command: _Command, parameters: show.Parameters) -> None:
    patterns = [_pattern(name, 1, 2, "-M option requires service_name[/type]") for name in command.names]
    for scope, _ in _matching(command, parameters, patterns):
        words = _expand_words(parameters, scope) if command.has("x") else scope.words
        _print(master_print.entry_lines(words, fold=command.has("f")))


def _show_fields(command: _Command, parameters: show.Parameters) -> None:
    patterns = [_pattern(name, 1, 3, "-F option requires service_name[/type[/field]]") for name in command.names]
    for pattern in patterns:
        _field(pattern[2])
    for scope, pattern in _matching(command, parameters, patterns):
        words = _expand_words(parameters, scope) if command.has("x") else scope.words
        columns = range(8) if pattern[2] == "*" else (_field(pattern[2]),)
        for column in columns:
            _print(
                master_print.field_lines(
                    words, column, fold=command.has("f"), names=not command.has("h"), values=not command.has("H")
                )
            )


def _show_options(command: _Command, parameters: show.Parameters) -> None:
    patterns = [
        _pattern(name, 1, 3, "-P option requires service_name[/type[/parameter]]") for name in command.names
    ] or [("*", "*", "*")]
    matched: set[int] = set()
    for scope in parameters.scopes:
        for index, pattern in enumerate(patterns):
            if not _matches(pattern, scope.words):
                continue
            for name in sorted(scope.values) if pattern[2] == "*" else (pattern[2],):
                if name in scope.values:
                    matched.add(index)
                    text = scope.values[name]
                    if command.has("x") and not command.has("H"):
                        text = parameters.expand(name, text, scope)
                    _print_value(command, f"{scope.name}/{name}", text)
            if pattern[2] == "*":
                matched.add(index)
    for index, name in enumerate(command.names):
        if index not in matched:
            _warn(f'unmatched request: "{name}"')


def _matching(
    command: _Command, parameters: show.Parameters, patterns: Sequence[tuple[str, ...]]
) -> list[tuple[show.Scope, tuple[str, ...]]]:
    """Each service with each request that it matches; a warning for a request without any."""
    if not patterns:
        return [(scope, ("*", "*", "*")) for scope in parameters.scopes]
    found = [(scope, pattern) for scope in parameters.scopes for pattern in patterns if _matches(pattern, scope.words)]
    for name, pattern in zip(command.names, patterns, strict=True):
        if not any(pattern is used for _, used in found):
            _warn(f'unmatched request: "{name}"')
    return found


def _expand_words(parameters: show.Parameters, scope: show.Scope) -> master_cf.Words:
    """The entry with the -o values expanded."""
    words = list(scope.words)
    for index in range(8, len(words) - 1):
        if not words[index].startswith("-") and words[index - 1] != "-o":
            break
        if words[index] == "-o":
            words[index + 1] = parameters.expand("", words[index + 1], scope)
    return tuple(words)


def _show_templates(command: _Command) -> None:
    """-b, -t."""
    if len(command.names) > 1:
        raise _Fatal("options -b and -t require at most one template file")
    config = load(command.directory or DEFAULT_DIRECTORY, command.overrides)
    path = command.names[0] if command.names else config.bounce_template_file
    try:
        found, complaints = templates.read(path)
    except OSError as error:
        raise _Fatal(f"open {path}: {error.strerror or error}") from None
    _warn_all(command, [f"{path}: {complaint}" for complaint in complaints])
    shown = []
    for name, one in found.items():
        if command.has("t"):
            shown.append(template.write(name, one))
        else:
            text = templates.fill(config, one).text
            shown.append(template.here(text, f"expanded_{name.removesuffix('_template')}_text"))
    sys.stdout.write("\n".join(shown))


# Editing.


def _edit_main(command: _Command) -> None:
    path = command.path("main.cf")
    arguments = [_one_line(argument, "-e, -X, or -# accepts no") for argument in command.names]
    text = _read(path)
    if command.has("e"):
        changes: dict[str, str] = {}
        for argument in arguments:
            name, value = _split(argument, argument)
            if changes.get(name, value) != value:
                _warn(f"ignoring earlier request: '{name} = {changes[name]}'")
            changes[name] = value
        text, repeated = edit.set_values(text, changes)
        for name in repeated:
            _warn(f'{path}: multiple entries for "{name}"')
    else:
        for argument in arguments:
            if not argument:
                raise _Fatal("-X or -# requires non-blank parameter names")
            if "=" in argument:
                raise _Fatal("-X or -# requires parameter names without value")
        text = edit.remove(text, arguments) if command.has("X") else edit.comment_out(text, arguments)
    _replace(path, text)


def _edit_entries(command: _Command) -> None:
    """-Me, -MX, -M#: whole services."""
    path = command.path("master.cf")
    requests: list[tuple[tuple[str, ...], master_cf.Words]] = []
    for argument in command.names:
        text = _one_line(argument, "-Me, -Fe, -Pe, -X, or -# accept no")
        pattern_text, value = _split(text, argument) if command.has("e") else (text, "")
        if not command.has("e") and "=" in text:
            raise _Fatal("-X or -# requires names without value")
        pattern = _pattern(pattern_text, 2, 2, "-Me, -MX or -M# requires service_name/type")
        requests.append((pattern, _new_words(value, argument) if command.has("e") else ()))
    patterns = [pattern for pattern, _ in requests]
    if command.has("#"):
        text = edit.comment_master(
            _read(path), lambda service, kind: any(_matches(pattern, (service, kind)) for pattern in patterns)
        )
        _replace(path, text)
        return
    done: set[int] = set()

    def change(words: master_cf.Words) -> str | None:
        matched = False
        result = ""
        for index, (pattern, new) in enumerate(requests):
            if _matches(pattern, words) or (new and new[:2] == words[:2]):
                matched = True
                if new and index not in done:
                    # Of several entries that match, the first is replaced and the others go.
                    result = edit.print_entry(new)
                done.add(index)
        return result if matched else None

    text = edit.edit_master(_read(path), change, file=path)
    for index, (_, new) in enumerate(requests):
        if new and index not in done:
            text += edit.print_entry(new)
    _replace(path, text)


def _edit_fields(command: _Command) -> None:
    """-Fe, -Pe, -PX: one column or one -o of a service."""
    path = command.path("master.cf")
    requests: list[tuple[tuple[str, ...], str | None]] = []
    for argument in command.names:
        text = _one_line(argument, "-Me, -Fe, -Pe, -X, or -# accept no")
        pattern_text, value = _split(text, argument) if command.has("e") else (text, None)
        if value is None and "=" in text:
            raise _Fatal("-X or -# requires names without value")
        if command.has("F"):
            pattern = _pattern(pattern_text, 3, 3, "-Fe or -FX requires service_name/type/field_name")
            if pattern[2] == "*":
                raise _Fatal("-Fe does not accept wild-card field name")
            if _field(pattern[2]) < 7 and value is not None and len(value.split()) != 1:
                raise _Fatal("-Fe does not accept whitespace in non-command field")
        else:
            pattern = _pattern(pattern_text, 3, 3, "-Pe or -PX requires service_name/type/parameter")
            if pattern[2] == "*":
                raise _Fatal("-Pe does not accept wild-card parameter name")
            if value is not None and len(value.split()) > 1:
                raise _Fatal("-Pe does not accept whitespace in parameter value")
        requests.append((pattern, value))
    matched: set[int] = set()

    def change(words: master_cf.Words) -> str | None:
        new: master_cf.Words | None = None
        for index, (pattern, value) in enumerate(requests):
            if _matches(pattern, words):
                matched.add(index)
                base = new or words
                new = (
                    _set_field(base, _field(pattern[2]), value or "")
                    if command.has("F")
                    else _set_option(base, pattern[2], value)
                )
        return None if new is None else edit.print_entry(new)

    text = edit.edit_master(_read(path), change, file=path)
    for index, name in enumerate(command.names):
        if index not in matched:
            _warn(f'unmatched service_name/type: "{name}"')
    _replace(path, text)


def _set_field(words: master_cf.Words, column: int, value: str) -> master_cf.Words:
    if column == 7:
        return _new_words(" ".join([*words[:7], value]), value)
    changed = (*words[:column], value, *words[column + 1 :])
    _check_entry(changed)
    return changed


def _set_option(words: master_cf.Words, name: str, value: str | None) -> master_cf.Words:
    """With ``-o name=value`` changed, added behind the other options, or (None) removed."""
    result = list(words[:8])
    index = 8
    found = False
    while index < len(words) and words[index].startswith("-") and words[index] != "--":
        if words[index] == "-o" and index + 1 < len(words):
            if words[index + 1].partition("=")[0] == name:
                if value is not None:
                    result += ["-o", f"{name}={value}"]
                found = True
            else:
                result += words[index : index + 2]
            index += 1
        else:
            result.append(words[index])
        index += 1
    if not found and value is not None:
        result += ["-o", f"{name}={value}"]
    return (*result, *words[index:])


def _new_words(text: str, argument: str) -> master_cf.Words:
    try:
        words = master_cf.words(text)
    except ValueError as error:
        raise _Fatal(f'{error}: "{argument}"') from None
    _check_entry(words)
    return words


def _check_entry(words: master_cf.Words) -> None:
    _, faults = master_cf.parse_text(edit.print_entry(words), "")
    for fault in faults:
        raise _Fatal(f"{fault.name}: {fault.reason}")


# Patterns, files, messages.


def _pattern(text: str, least: int, most: int, complaint: str) -> tuple[str, ...]:
    """``service/type/what`` in parts, with ``*`` for those that are missing."""
    parts = [part for part in text.split("/") if part]
    if text.startswith("/") or not least <= len(parts) <= most or any("*" in part and part != "*" for part in parts):
        raise _Fatal(complaint)
    return (*parts, *["*"] * (most - len(parts)))


def _matches(pattern: Sequence[str], words: Sequence[str]) -> bool:
    return pattern[0] in ("*", words[0]) and pattern[1] in ("*", words[1])


def _field(name: str) -> int:
    if name == "*":
        return -1
    try:
        return master_print.FIELDS.index(name)
    except ValueError:
        raise _Fatal(f'invalid service attribute name: "{name}"') from None


def _one_line(argument: str, complaint: str) -> str:
    if "\n" in argument:
        raise _Fatal(f"{complaint} multi-line input")
    text = argument.strip()
    if text.startswith("#"):
        raise _Fatal(f"{complaint} comment input")
    return text


def _split(text: str, argument: str) -> tuple[str, str]:
    try:
        return mainfile.split_setting(text)
    except ValueError as error:
        raise _Fatal(f'{error}: "{argument}"') from None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise _Fatal(f"open {path}: {error.strerror or error}") from None


def _read_entries(command: _Command) -> tuple[master_cf.Words, ...]:
    path = command.path("master.cf")
    try:
        text = Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        message = f"open {path}: {error.strerror or error}"
        if command.letters & set("MFP"):
            raise _Fatal(message) from None
        # main.cf can be shown without it, only the transports' own parameters are missing then.
        _warn(message)
        return ()
    entries: list[master_cf.Words] = []
    for number, line in mainfile.logical_lines(text):
        try:
            entries.append(master_cf.words(line))
        except ValueError as error:
            raise _Fatal(f"file {path}: line {number}: {error}") from None
    return tuple(entries)


def _replace(path: str, text: str) -> None:
    try:
        edit.replace_file(path, text)
    except OSError as error:
        raise _Fatal(f"write {path}: {error.strerror or error}") from None


def _print(lines: list[str]) -> None:
    sys.stdout.write("\n".join(lines) + "\n")


def _warn(text: str) -> None:
    sys.stdout.flush()
    print(f"postconf: warning: {text}", file=sys.stderr)


def _warn_all(command: _Command, warnings: list[str]) -> None:
    if not command.quiet:
        for warning in warnings:
            _warn(warning)


if __name__ == "__main__":
    sys.exit(main())
