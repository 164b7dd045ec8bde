"""What ``postconf`` knows: every parameter in force, with its class, its value and its doubts.

Three classes, as in Postfix: *builtin* (declared), *service* (made from the transports of master.cf) and *user* (set by
the user and referred to as ``$name``, or a restriction class). Postfix manual: postconf(1).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from tubepost.common.config import transports
from tubepost.common.config.declare import Raw
from tubepost.common.config.expand import ExpandError, expand, references
from tubepost.common.config.faults import ConfigError
from tubepost.common.config.mainfile import split_setting
from tubepost.common.config.master_cf import Words
from tubepost.common.config.settings import DECLARED, Config, suggest

CLASSES = ("builtin", "service", "user")
# The programs that deliver: each service that runs one of them is a transport.
_DELIVERING = frozenset({"local", "error", "virtual", "smtp", "lmtp", "pipe"})
_PER_SERVICE = tuple(suffix for suffix in transports.SUFFIXES if suffix not in ("time_limit", "extra_recipient_limit"))


@dataclass(frozen=True)
class Scope:
    """One service of master.cf and what its -o options set."""

    words: Words
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.words[0]}/{self.words[1]}"


class Parameters:
    """main.cf (unexpanded texts) and master.cf (words) as one table. ``defaults``: the user's settings do not count."""

    def __init__(
        self, directory: str, texts: Mapping[str, str], entries: tuple[Words, ...], *, defaults: bool = False
    ) -> None:
        self.directory = directory
        self.texts = {} if defaults else dict(texts)
        self.scopes = tuple(Scope(words, _options(words)) for words in entries)
        self._config = Config(directory, self.texts)

    @cached_property
    def service_defaults(self) -> dict[str, str]:
        """``<transport>_<suffix>`` to its default text, for the transports of master.cf."""
        result: dict[str, str] = {}
        for scope in self.scopes:
            service, program = scope.words[0], scope.words[7]
            if program not in _DELIVERING:
                continue
            for suffix in (*_PER_SERVICE, *(("time_limit",) if program == "pipe" else ())):
                result[f"{service}_{suffix}"] = transports.SUFFIXES[suffix].default
        return result

    @cached_property
    def classes(self) -> dict[str, str]:
        """Name to class, of every parameter in force."""
        result = dict.fromkeys(DECLARED, "builtin")
        result |= dict.fromkeys(self.service_defaults, "service")
        result |= {name: "user" for name in self._references if name in self.texts and name not in result}
        return result

    @cached_property
    def _restriction_classes(self) -> set[str]:
        return set(self._config.raw_or_empty("smtpd_restriction_classes").replace(",", " ").split())

    @cached_property
    def _references(self) -> dict[str, str]:
        """Every ``$name`` in use, restriction classes included, to the file that has it."""
        found: dict[str, str] = {}
        for scope in self.scopes:
            for name, text in scope.values.items():
                if not _is_raw(name):
                    found |= dict.fromkeys(references(text), "master.cf")
        for name in (*DECLARED, *self.service_defaults):
            if name not in self.texts and not _is_raw(name):
                found |= {one: found.get(one, "main.cf") for one in references(self.default(name) or "")}
        for name, text in self.texts.items():
            if not _is_raw(name):
                found |= {one: found.get(one, "main.cf") for one in references(text)}
        return found | dict.fromkeys(self._restriction_classes & set(self.texts), "main.cf")

    def default(self, name: str) -> str | None:
        parameter = DECLARED.get(name)
        if parameter is not None:
            return parameter.default if parameter.computed is None else parameter.computed(self._config)
        return self.service_defaults.get(name)

    def lookup(self, name: str, scope: Scope | None = None, *, explicit: bool = False) -> str | None:
        """Unexpanded text: of the service, else of main.cf, else the default unless ``explicit``."""
        if scope is not None:
            if name == "process_name":
                return scope.words[7]
            if name == "service_name":
                return scope.words[0]
            if name in scope.values:
                return scope.values[name]
        text = self.texts.get(name)
        if text is None and name == "config_directory" and not explicit:
            return self.directory
        return self.default(name) if text is None and not explicit else text

    def expand(self, name: str, text: str, scope: Scope | None = None) -> str:
        """``text`` with its references replaced, unless ``name`` is expanded at use only. Raises ConfigError."""
        if _is_raw(name):
            return text
        active: list[str] = []
        known: dict[str, str | None] = {}

        def value(other: str) -> str | None:
            if other in known:
                return known[other]
            found = self.lookup(other, scope)
            if found is not None and not _is_raw(other):
                if other in active or len(active) > 100:
                    raise ConfigError("the value refers to itself", name=other)
                active.append(other)
                found = expand(found, value)
                active.pop()
            known[other] = found
            return found

        try:
            return expand(text, value)
        except ExpandError as error:
            raise ConfigError(str(error), name=name) from None

    def undefined(self) -> list[str]:
        """Warnings about every ``$name`` that has no value anywhere."""
        local = {name for scope in self.scopes for name in scope.values}
        # These a program sets for itself.
        known = {*self.classes, *self.texts, *local, "service_name", "process_name", "process_id"}
        return [
            f"{self.directory}/{file}: undefined parameter: {name}"
            for name, file in self._references.items()
            if name not in known
        ]

    def unused_in_main(self) -> list[str]:
        """Warnings about every name of main.cf that nothing uses, with the nearest name that something does."""
        return [
            self._unused("main.cf", name, text)
            for name, text in sorted(self.texts.items())
            if name not in self.classes and name != "config_directory"
        ]

    def unused_in_master(self) -> list[str]:
        """The same for the -o options of master.cf."""
        known = self.classes.keys() | self._references.keys() | self._restriction_classes
        return [
            self._unused("master.cf", name, text)
            for scope in self.scopes
            for name, text in sorted(scope.values.items())
            if name not in known
        ]

    def _unused(self, file: str, name: str, text: str) -> str:
        return f"{self.directory}/{file}: unused parameter: {name}={text}{suggest(name)}"


def _is_raw(name: str) -> bool:
    return isinstance(DECLARED.get(name), Raw)


def _options(words: Words) -> dict[str, str]:
    """The -o options of an entry in canonical words; of one set twice the last counts."""
    values: dict[str, str] = {}
    index = 8
    while index < len(words) and words[index].startswith("-") and words[index] != "--":
        if words[index] == "-o" and index + 1 < len(words):
            index += 1
            try:
                name, text = split_setting(words[index])
                values[name] = text
            except ValueError:
                pass
        index += 1
    return values
