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

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tubepost.common.mail import template
from tubepost.common.config import load, mainfile, master_cf, master_print, show, templates
from tubepost.common.config.faults import ConfigError
from tubepost.common.config.settings import suggest
from tubepost.common.tables import known_types

from tubepost.commands import postconf_editing
from tubepost.commands.postconf_options import (
    DEFAULT_DIRECTORY,
    Command,
    Fatal,
    field_of,
    matches,
    pattern_of,
    read,
    warn,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 when done, 1 when not, with the reason on standard error."""
    # Values may hold bytes that are not UTF-8; they go out as they came in.
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="surrogateescape")
    try:
        _run(Command(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except (Fatal, ConfigError) as error:
        print(f"postconf: fatal: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader (head, less) has had enough; nothing is left to say, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _run(command: Command) -> None:
    if command.has("m"):
        for name in sorted(known_types()):
            print(name)
    elif command.letters & set("bt"):
        _show_templates(command)
    elif command.letters & set("eX#"):
        postconf_editing.change(command)
    else:
        _show(command)


def _show(command: Command) -> None:
    texts: dict[str, str] = {}
    if not command.has("d"):
        settings, faults = mainfile.parse(read(command.path("main.cf")), command.path("main.cf"))
        for fault in faults:
            if fault.severity == "error":
                raise Fatal(str(fault))
            warn(f"{fault.file}, line {fault.line}: {fault.reason}")
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


def _show_parameters(command: Command, parameters: show.Parameters) -> None:
    names = command.names
    if not names:
        wanted = command.parameter_class
        names = sorted(name for name, kind in parameters.classes.items() if wanted in (kind, "all"))
    for name in names:
        if name not in parameters.classes:
            warn(f"{name}: unknown parameter{suggest(name)}")
            continue
        text = parameters.lookup(name, explicit=command.has("n"))
        if text is not None:
            if command.has("x") and not command.has("H"):
                text = parameters.expand(name, text)
            _print_value(command, name, text)


def _print_value(command: Command, name: str, text: str) -> None:
    if command.has("H"):
        shown = name
    elif command.has("h"):
        shown = text
    else:
        shown = f"{name} = {text}"
    _print(master_print.text_lines(shown, fold=command.has("f")))


def _show_entries(command: Command, parameters: show.Parameters) -> None:
    patterns = [pattern_of(name, 1, 2, "-M option requires service_name[/type]") for name in command.names]
    for scope, _ in _matching(command, parameters, patterns):
        words = _expand_words(parameters, scope) if command.has("x") else scope.words
        _print(master_print.entry_lines(words, fold=command.has("f")))


def _show_fields(command: Command, parameters: show.Parameters) -> None:
    patterns = [pattern_of(name, 1, 3, "-F option requires service_name[/type[/field]]") for name in command.names]
    for pattern in patterns:
        field_of(pattern[2])
    for scope, pattern in _matching(command, parameters, patterns):
        words = _expand_words(parameters, scope) if command.has("x") else scope.words
        columns = range(8) if pattern[2] == "*" else (field_of(pattern[2]),)
        for column in columns:
            _print(
                master_print.field_lines(
                    words, column, fold=command.has("f"), names=not command.has("h"), values=not command.has("H")
                )
            )


def _show_options(command: Command, parameters: show.Parameters) -> None:
    patterns = [
        pattern_of(name, 1, 3, "-P option requires service_name[/type[/parameter]]") for name in command.names
    ] or [("*", "*", "*")]
    matched: set[int] = set()
    for scope in parameters.scopes:
        for index, pattern in enumerate(patterns):
            if not matches(pattern, scope.words):
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
            warn(f'unmatched request: "{name}"')


def _matching(
    command: Command, parameters: show.Parameters, patterns: Sequence[tuple[str, ...]]
) -> list[tuple[show.Scope, tuple[str, ...]]]:
    """Each service with each request that it matches; a warning for a request without any."""
    if not patterns:
        return [(scope, ("*", "*", "*")) for scope in parameters.scopes]
    found = [(scope, pattern) for scope in parameters.scopes for pattern in patterns if matches(pattern, scope.words)]
    for name, pattern in zip(command.names, patterns, strict=True):
        if not any(pattern is used for _, used in found):
            warn(f'unmatched request: "{name}"')
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


def _show_templates(command: Command) -> None:
    """-b, -t."""
    if len(command.names) > 1:
        raise Fatal("options -b and -t require at most one template file")
    config = load(command.directory or DEFAULT_DIRECTORY, command.overrides)
    path = command.names[0] if command.names else config.bounce_template_file
    try:
        found, complaints = templates.read(path)
    except OSError as error:
        raise Fatal(f"open {path}: {error.strerror or error}") from None
    _warn_all(command, [f"{path}: {complaint}" for complaint in complaints])
    shown = []
    for name, one in found.items():
        if command.has("t"):
            shown.append(template.write(name, one))
        else:
            text = templates.fill(config, one).text
            shown.append(template.here(text, f"expanded_{name.removesuffix('_template')}_text"))
    sys.stdout.write("\n".join(shown))


def _read_entries(command: Command) -> tuple[master_cf.Words, ...]:
    path = command.path("master.cf")
    try:
        text = Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        message = f"open {path}: {error.strerror or error}"
        if command.letters & set("MFP"):
            raise Fatal(message) from None
        # main.cf can be shown without it, only the transports' own parameters are missing then.
        warn(message)
        return ()
    entries: list[master_cf.Words] = []
    for number, line in mainfile.logical_lines(text):
        try:
            entries.append(master_cf.words(line))
        except ValueError as error:
            raise Fatal(f"file {path}: line {number}: {error}") from None
    return tuple(entries)


def _print(lines: list[str]) -> None:
    sys.stdout.write("\n".join(lines) + "\n")


def _warn_all(command: Command, warnings: list[str]) -> None:
    if not command.quiet:
        for warning in warnings:
            warn(warning)


if __name__ == "__main__":
    sys.exit(main())
