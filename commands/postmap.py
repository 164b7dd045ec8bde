"""postmap: builds, changes and asks lookup tables (Postfix manual: postmap(1)).

    postmap [type:]file ...                  build from the source file
    postmap -i [type:]file ...               add entries read from standard input
    postmap -q key [type:]name ...           ask; -q - asks keys from standard input (with -b -h -m: a message)
    postmap -d key [type:]file ...           remove; -d - removes keys from standard input
    postmap -s [type:]name                   print all entries

Options: -c dir, -f (keep case), -F (values are files), -j (JSON), -N -n (zero bytes), -o (stay root), -p (mode 0644),
-r (replace), -w (ignore duplicates), -u -U (UTF-8), -v. Exit status 0: done, or found; 1: not found, or a fault.
"""

import asyncio
import base64
import binascii
import getopt
import json
import os
import sys
from collections.abc import Iterator, Sequence

from tubepost.common.mail import mime
from tubepost.common.config import ConfigError, load
from tubepost.common.tables import Table, TableEnvironment, TableError, open_table
from tubepost.common.tables import compile as building
from tubepost.common.tables.registry import split_spec
from tubepost.common.tables.source import read_aliases, read_entries
from tubepost.common.tables.table import Broken

_OPTIONS = "bc:d:fFhijmnNopq:rsuUvw"
_USAGE = "[-bfFhijmnNoprsuUvw] [-c config_dir] [-d key] [-q key] [map_type:]file..."
DEFAULT_DIRECTORY = "/etc/tubepost"


class Fatal(Exception):
    """Ends the program with status 1; the argument is for the user."""


class Command:
    """One run of postmap or postalias."""

    def __init__(self, name: str, letters: str, usage: str, read: building.Reader) -> None:
        self.name = name
        self.letters = letters
        self.usage = usage
        self.read = read
        # postalias prints its entries as its source has them.
        self.separator = ":\t" if read is read_aliases else "\t"
        self.options = building.Options(warn=self.warn)
        self.flags: set[str] = set()
        self.mode = ""
        self.key = ""
        self.specs: list[str] = []
        self.directory = os.environ.get("MAIL_CONFIG", "")

    def warn(self, text: str) -> None:
        print(f"{self.name}: warning: {text}", file=sys.stderr)

    def parse(self, arguments: Sequence[str]) -> None:
        """Options to fields. Raises Fatal."""
        try:
            options, self.specs = getopt.getopt(list(arguments), self.letters)
        except getopt.GetoptError as error:
            print(f"{self.name}: {error}", file=sys.stderr)
            raise Fatal(f"usage: {self.name} {self.usage}") from None
        for option, value in options:
            letter = option[1]
            if letter in "diqs":
                if self.mode:
                    raise Fatal("specify only one of -d -i -q or -s")
                self.mode, self.key = letter, value
            elif letter == "c":
                self.directory = value
            elif letter in "rw":
                self.options.duplicates = "replace" if letter == "r" else "ignore"
            elif letter in "nN":
                self.options.zero = letter == "N"
            else:
                self.flags.add(letter)
        self.options.fold = "f" not in self.flags
        self.options.files = "F" in self.flags
        self.options.utf8 = "u" not in self.flags
        self.options.as_owner = "o" not in self.flags
        self.options.permissions = "p" not in self.flags
        if "j" in self.flags and self.mode not in ("q", "s"):
            raise Fatal("option -j requires -q or -s")
        if self.flags & set("bhm") and not (self.mode == "q" and self.key == "-"):
            raise Fatal('specify -b -h or -m only with "-q -"')
        if "m" in self.flags and not self.flags & set("bh"):
            self.warn("ignoring -m option without -b or -h")
        if not self.specs:
            raise Fatal(f"usage: {self.name} {self.usage}")

    def run(self, arguments: Sequence[str]) -> int:
        """The exit status. Raises Fatal, TableError, ConfigError."""
        self.parse(arguments)
        directory = self.directory or DEFAULT_DIRECTORY
        default_type, utf8, accounts = "hash", True, ""
        # Without an instance of one's own a table can be built all the same.
        if self.directory or os.path.exists(os.path.join(directory, "main.cf")):
            config = load(directory)
            default_type, utf8 = config.default_database_type, config.smtputf8_enable
            accounts = config.accounts_directory
        self.options.utf8 = self.options.utf8 and utf8
        # A header or body line may hold anything: UTF-8 is checked on demand only.
        checked = self.options.utf8 and not (self.flags & set("bh") and "U" not in self.flags)
        environment = TableEnvironment(directory, accounts, default_type, warn=self.warn, utf8=checked)
        environment.files = [] if self.options.files else None
        targets = [split_spec(spec, default_type) for spec in self.specs]
        try:
            if self.mode == "q":
                return asyncio.run(self._ask(targets, environment))
            if self.mode == "d":
                return self._delete(targets)
            if self.mode == "s":
                return self._dump(targets[0], environment)
            for kind, name in targets:
                if self.mode == "i":
                    building.update(kind, name, _input_lines(), self.options, self.read)
                else:
                    building.build(kind, name, self.options, self.read)
            return 0
        finally:
            environment.close()

    async def _ask(self, targets: list[tuple[str, str]], environment: TableEnvironment) -> int:
        if self.key != "-":
            for target in targets:
                value = await self._value(_open(target, environment, self.options.fold), self.key)
                if value is not None:
                    self._print(self.key, value, with_key=False)
                    return 0
            return 1
        found = False
        tables: dict[int, Table] = {}
        keys = self._message_keys() if self.flags & set("bh") else _input_lines()
        for key in keys:
            for index, target in enumerate(targets):
                # Opened when first needed: a later table may never be.
                if index not in tables:
                    tables[index] = _open(target, environment, self.options.fold)
                value = await self._value(tables[index], key)
                if value is not None:
                    self._print(key, value, with_key=True)
                    found = True
                    break
        return 0 if found else 1

    async def _value(self, table: Table, key: str) -> str | None:
        value = await table.lookup(key)
        if value is None:
            return None
        if not value:
            self._warn_of_empty(table, key)
        return self._decode(table, key, value) if self.options.files else value

    def _decode(self, table: Table, key: str, value: str) -> str:
        try:
            return base64.b64decode(value, validate=True).decode("utf-8", "surrogateescape")
        except (binascii.Error, ValueError) as error:
            raise TableError(f"table {table.spec}: key {key}: malformed BASE64 value: {value:.30}") from error

    def _warn_of_empty(self, table: Table, key: str) -> None:
        self.warn(f"table {table.spec}: key {key}: empty string result is not allowed")
        self.warn(f"table {table.spec} should return NO RESULT in case of NOT FOUND")

    def _message_keys(self) -> Iterator[str]:
        """Header fields and body lines of the message on standard input."""
        parser = mime.Parser()
        if "m" in self.flags:
            for line in sys.stdin.buffer:
                yield from self._keys_of(parser.feed(line))
            yield from self._keys_of(parser.finish())
            return
        # Without -m all that follows the header is body, whatever parts it has.
        for line in sys.stdin.buffer:
            events = parser.feed(line)
            yield from self._keys_of(events)
            if any(event.kind is mime.Kind.SEPARATOR for event in events):
                break
        else:
            yield from self._keys_of(parser.finish())
        if "b" in self.flags:
            yield from _input_lines()

    def _keys_of(self, events: list[mime.Event]) -> Iterator[str]:
        for event in events:
            if event.kind is mime.Kind.FIELD and "h" in self.flags:
                yield _text(event.raw.rstrip(b"\r\n"))
            elif event.kind in (mime.Kind.BODY, mime.Kind.BOUNDARY) and "b" in self.flags:
                yield from map(_text, event.raw.removesuffix(b"\n").split(b"\n"))

    def _delete(self, targets: list[tuple[str, str]]) -> int:
        keys = list(_input_lines()) if self.key == "-" else [self.key]
        found = [building.delete(kind, name, keys, self.options) for kind, name in targets]
        return 0 if any(found) else 1

    def _dump(self, target: tuple[str, str], environment: TableEnvironment) -> int:
        table = _open(target, environment, False)
        for raw_key, raw_value in table.records():
            key, value = _text(raw_key), _text(raw_value)
            if not key:
                self.warn(f"table {table.spec}: empty lookup key value is not allowed")
            elif not value:
                self._warn_of_empty(table, key)
            if self.options.files:
                try:
                    value = self._decode(table, key, value)
                except TableError as error:
                    self.warn(str(error))
                    continue
            self._print(key, value, with_key=True)
        return 0

    def _print(self, key: str, value: str, with_key: bool) -> None:
        if "j" in self.flags:
            line = json.dumps({key: value}, ensure_ascii=False)
        else:
            line = f"{key}{self.separator}{value}" if with_key else value
        sys.stdout.buffer.write(line.encode("utf-8", "surrogateescape") + b"\n")


def _open(target: tuple[str, str], environment: TableEnvironment, fold: bool) -> Table:
    table = open_table(":".join(target), environment=environment, fold=fold, strict=True)
    assert not isinstance(table, Broken)
    return table


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _input_lines() -> Iterator[str]:
    for line in sys.stdin.buffer:
        yield _text(line.removesuffix(b"\n"))


def run(command: Command, arguments: Sequence[str] | None) -> int:
    """The whole program: faults become a line on standard error and status 1."""
    try:
        status = command.run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
        return status
    except (Fatal, TableError, ConfigError) as error:
        sys.stdout.flush()
        print(f"{command.name}: fatal: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    return run(Command("postmap", _OPTIONS, _USAGE, read_entries), arguments)


if __name__ == "__main__":
    sys.exit(main())
