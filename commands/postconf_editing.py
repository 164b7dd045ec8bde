"""What postconf changes in main.cf and master.cf: -e, -X and -#, alone and with -M, -F, -P (Postfix: postconf(1))."""

from tubepost.common.config import edit, master_cf

from tubepost.commands.postconf_options import Command, Fatal, field_of, matches, pattern_of, read, split, warn


def change(command: Command) -> None:
    """-e, -X, -#. Raises Fatal, ConfigError."""
    if command.has("p"):
        _edit_main(command)
    elif command.has("M"):
        _edit_entries(command)
    else:
        _edit_fields(command)


def _edit_main(command: Command) -> None:
    path = command.path("main.cf")
    arguments = [_one_line(argument, "-e, -X, or -# accepts no") for argument in command.names]
    text = read(path)
    if command.has("e"):
        changes: dict[str, str] = {}
        for argument in arguments:
            name, value = split(argument, argument)
            if changes.get(name, value) != value:
                warn(f"ignoring earlier request: '{name} = {changes[name]}'")
            changes[name] = value
        text, repeated = edit.set_values(text, changes)
        for name in repeated:
            warn(f'{path}: multiple entries for "{name}"')
    else:
        for argument in arguments:
            if not argument:
                raise Fatal("-X or -# requires non-blank parameter names")
            if "=" in argument:
                raise Fatal("-X or -# requires parameter names without value")
        text = edit.remove(text, arguments) if command.has("X") else edit.comment_out(text, arguments)
    _replace(path, text)


def _edit_entries(command: Command) -> None:
    """-Me, -MX, -M#: whole services."""
    path = command.path("master.cf")
    requests: list[tuple[tuple[str, ...], master_cf.Words]] = []
    for argument in command.names:
        text = _one_line(argument, "-Me, -Fe, -Pe, -X, or -# accept no")
        pattern_text, value = split(text, argument) if command.has("e") else (text, "")
        if not command.has("e") and "=" in text:
            raise Fatal("-X or -# requires names without value")
        pattern = pattern_of(pattern_text, 2, 2, "-Me, -MX or -M# requires service_name/type")
        requests.append((pattern, _new_words(value, argument) if command.has("e") else ()))
    patterns = [pattern for pattern, _ in requests]
    if command.has("#"):
        text = edit.comment_master(
            read(path), lambda service, kind: any(matches(pattern, (service, kind)) for pattern in patterns)
        )
        _replace(path, text)
        return
    done: set[int] = set()

    def change_entry(words: master_cf.Words) -> str | None:
        matched = False
        result = ""
        for index, (pattern, new) in enumerate(requests):
            if matches(pattern, words) or (new and new[:2] == words[:2]):
                matched = True
                if new and index not in done:
                    # Of several entries that match, the first is replaced and the others go.
                    result = edit.print_entry(new)
                done.add(index)
        return result if matched else None

    text = edit.edit_master(read(path), change_entry, file=path)
    for index, (_, new) in enumerate(requests):
        if new and index not in done:
            text += edit.print_entry(new)
    _replace(path, text)


def _edit_fields(command: Command) -> None:
    """-Fe, -Pe, -PX: one column or one -o of a service."""
    path = command.path("master.cf")
    requests: list[tuple[tuple[str, ...], str | None]] = []
    for argument in command.names:
        text = _one_line(argument, "-Me, -Fe, -Pe, -X, or -# accept no")
        pattern_text, value = split(text, argument) if command.has("e") else (text, None)
        if value is None and "=" in text:
            raise Fatal("-X or -# requires names without value")
        if command.has("F"):
            pattern = pattern_of(pattern_text, 3, 3, "-Fe or -FX requires service_name/type/field_name")
            if pattern[2] == "*":
                raise Fatal("-Fe does not accept wild-card field name")
            if field_of(pattern[2]) < 7 and value is not None and len(value.split()) != 1:
                raise Fatal("-Fe does not accept whitespace in non-command field")
        else:
            pattern = pattern_of(pattern_text, 3, 3, "-Pe or -PX requires service_name/type/parameter")
            if pattern[2] == "*":
                raise Fatal("-Pe does not accept wild-card parameter name")
            if value is not None and len(value.split()) > 1:
                raise Fatal("-Pe does not accept whitespace in parameter value")
        requests.append((pattern, value))
    matched: set[int] = set()

    def change_entry(words: master_cf.Words) -> str | None:
        new: master_cf.Words | None = None
        for index, (pattern, value) in enumerate(requests):
            if matches(pattern, words):
                matched.add(index)
                base = new or words
                new = (
                    _set_field(base, field_of(pattern[2]), value or "")
                    if command.has("F")
                    else _set_option(base, pattern[2], value)
                )
        return None if new is None else edit.print_entry(new)

    text = edit.edit_master(read(path), change_entry, file=path)
    for index, name in enumerate(command.names):
        if index not in matched:
            warn(f'unmatched service_name/type: "{name}"')
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
        raise Fatal(f'{error}: "{argument}"') from None
    _check_entry(words)
    return words


def _check_entry(words: master_cf.Words) -> None:
    _, faults = master_cf.parse_text(edit.print_entry(words), "")
    for fault in faults:
        raise Fatal(f"{fault.name}: {fault.reason}")


def _one_line(argument: str, complaint: str) -> str:
    if "\n" in argument:
        raise Fatal(f"{complaint} multi-line input")
    text = argument.strip()
    if text.startswith("#"):
        raise Fatal(f"{complaint} comment input")
    return text


def _replace(path: str, text: str) -> None:
    try:
        edit.replace_file(path, text)
    except OSError as error:
        raise Fatal(f"write {path}: {error.strerror or error}") from None
