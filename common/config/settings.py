"""``Config``: main.cf and the overrides of master.cf as typed attributes, and how they are read from disk."""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from tubepost.common.config import consistency, mainfile, transports
from tubepost.common.config.declare import AnyParameter, declarations
from tubepost.common.config.expand import ExpandError, expand, references
from tubepost.common.config.faults import ConfigError, Fault
from tubepost.common.config.parameters import Parameters
from tubepost.common.config.parameters.lmtp import LMTP, TWINS
from tubepost.common.config.parameters.tls import FOLLOWERS

OVERRIDE = "master.cf -o"
"""Stands as the file of a value that came with ``-o``."""

DECLARED: dict[str, AnyParameter] = {parameter.name: parameter for parameter in declarations(Parameters)}
DECLARED |= LMTP | FOLLOWERS
"""Every parameter by its name in main.cf."""

_LMTP_OF = {smtp: lmtp for lmtp, smtp in TWINS.items()}


class Place(NamedTuple):
    file: str
    line: int


class Config(Parameters):
    """One attribute a parameter, parsed at first use; a bad value raises ConfigError then.

    ``texts``: name to unexpanded value as in main.cf. ``overrides`` win over it. ``places`` says where a text stands.
    """

    def __init__(
        self,
        directory: str = "/etc/tubepost",
        texts: Mapping[str, str] | None = None,
        overrides: Mapping[str, str] | None = None,
        places: Mapping[str, Place] | None = None,
        warnings: tuple[Fault, ...] = (),
    ) -> None:
        self._texts = {**(texts or {}), **(overrides or {}), "config_directory": directory}
        self._places = {name: place for name, place in (places or {}).items() if name not in (overrides or {})}
        self._overrides = frozenset(overrides or ())
        self._expanded: dict[str, str | None] = {}
        self._active: list[str] = []
        self.warnings = warnings
        """What the parser noticed: names set twice; from ``inspect`` also lines that it could not read."""

    @property
    def explicit(self) -> dict[str, Place]:
        """Every name set in main.cf or by an override, with its place."""
        return {name: self.place(name) for name in self._texts if name != "config_directory" or name in self._places}

    def place(self, name: str) -> Place:
        """Where a value was set; line 0 when it is a default."""
        if name in self._places:
            return self._places[name]
        return Place(OVERRIDE if name in self._overrides else "", 0)

    def raw(self, name: str) -> str | None:
        """The expanded text of any name: a parameter, a transport's parameter, or one of the user's own. None: no such.

        Raises ConfigError for text that cannot be expanded.
        """
        try:
            return self._expanded[name]
        except KeyError:
            pass
        text = self.text(name)
        if text is None:
            self._expanded[name] = None
            return None
        if name in self._active:
            circle = " -> ".join([*self._active[self._active.index(name) :], name])
            raise self.bad_value(name, f"the value refers to itself: {circle[:300]}")
        if len(self._active) > 100:
            raise self.bad_value(name, "references nested more than 100 deep")
        self._active.append(name)
        try:
            value = expand(text, self.raw)
        except ExpandError as error:
            raise self.bad_value(name, str(error)) from None
        finally:
            self._active.pop()
        self._expanded[name] = value
        return value

    def text(self, name: str) -> str | None:
        """The same, not expanded."""
        text = self._texts.get(name)
        if text is not None:
            return text
        parameter = DECLARED.get(name)
        if parameter is not None:
            return parameter.default if parameter.computed is None else parameter.computed(self)
        transport = transports.split_name(name)
        return transport[1].default if transport else None

    def expanded(self, name: str) -> str:
        return self.raw(name) or ""

    def unexpanded(self, name: str) -> str:
        return self.text(name) or ""

    def expand(self, text: str, name: str = "") -> str:
        """Expand references in text that stands elsewhere (master.cf arguments). Raises ConfigError."""
        try:
            return expand(text, self.raw)
        except ExpandError as error:
            raise self.bad_value(name, str(error)) from None

    def bad_value(self, name: str, reason: str) -> ConfigError:
        file, line = self.place(name)
        return ConfigError(reason, file=file, line=line, name=name)

    def transport(self, name: str, suffix: str) -> str:
        """Expanded text of ``<name>_<suffix>``, or of its default. ``suffix`` is a key of transports.SUFFIXES."""
        if suffix not in transports.SUFFIXES:
            raise KeyError(suffix)
        return self.raw(f"{name}_{suffix}") or ""

    def transport_int(self, name: str, suffix: str) -> int:
        return int(self._transport_value(name, suffix))

    def transport_time(self, name: str, suffix: str) -> float:
        """Seconds."""
        return float(self._transport_value(name, suffix))

    def _transport_value(self, name: str, suffix: str) -> Any:
        try:
            return transports.SUFFIXES[suffix].parse(self.transport(name, suffix))
        except ValueError as error:
            raise error if isinstance(error, ConfigError) else self.bad_value(f"{name}_{suffix}", str(error)) from None

    def as_lmtp(self) -> "Config":
        """The configuration for LMTP: every ``smtp_`` attribute then has the value of its ``lmtp_`` twin."""
        overrides = {name: self._texts[name] for name in self._overrides}
        return _LmtpConfig(self._texts["config_directory"], self._texts, overrides, self._places)

    def with_overrides(self, overrides: Mapping[str, str]) -> "Config":
        """The configuration of a service with its ``-o name=value``, without reading main.cf again."""
        if not overrides:
            return self
        own = {name: self._texts[name] for name in self._overrides}
        return type(self)(self._texts["config_directory"], self._texts, own | dict(overrides), self._places)

    def get(self, name: str) -> Any:
        """The parsed value of a declared parameter by its name in main.cf. Raises KeyError, ConfigError."""
        parameter = DECLARED[name]
        return getattr(self, parameter.attribute) if parameter.attribute else parameter.read(self)

    def check(self, transport_names: frozenset[str] = frozenset()) -> list[Fault]:
        """Every fault, in one pass: bad values are errors, names that nothing uses are warnings.

        ``transport_names``: the services of master.cf, each of which may have its own parameters.
        """
        faults = list(self.warnings)
        bad: dict[str, Fault] = {}
        for name, parameter in DECLARED.items():
            if parameter.computed is not None and name not in self._texts:
                continue
            try:
                self.get(name)
            except ConfigError as error:
                bad[name] = error.fault
        # A default that only repeats a bad value is not a second fault.
        faults += [
            fault
            for name, fault in bad.items()
            if name in self._texts or not any(other in bad for other in references(DECLARED[name].default))
        ]
        used = self._used_names()
        for name in self._texts:
            if name in DECLARED:
                continue
            place = self.place(name)
            split = transports.split_name(name)
            if split is not None and split[0] in transport_names:
                try:
                    split[1].parse(self.raw(name) or "")
                except ConfigError as error:
                    faults.append(error.fault)
                except ValueError as error:
                    faults.append(Fault(*place, name, str(error)))
            elif name in used:
                try:
                    self.raw(name)
                except ConfigError as error:
                    faults.append(error.fault)
            else:
                reason = f"unused parameter: {name}={self._texts[name][:60]}{suggest(name)}"
                faults.append(Fault(*place, name, reason, "warning"))
        faults += [Fault(*self.place(name), name, reason) for name, reason in consistency.conflicts(self)]
        unique = dict.fromkeys(faults)
        return sorted(unique, key=lambda fault: (fault.file, fault.line, fault.name))

    def _used_names(self) -> set[str]:
        """Names of the user's own that something refers to: ``$name`` in a value in use, or a restriction class."""
        used = set((self.raw_or_empty("smtpd_restriction_classes")).replace(",", " ").split())
        waiting = [text for name, text in self._texts.items() if name in DECLARED or transports.split_name(name)]
        waiting += [parameter.default for parameter in DECLARED.values()]
        waiting += [self._texts[name] for name in used if name in self._texts]
        while waiting:
            for name in references(waiting.pop()):
                if name not in used:
                    used.add(name)
                    if name in self._texts:
                        waiting.append(self._texts[name])
        return used

    def raw_or_empty(self, name: str) -> str:
        """As raw, but a value that cannot be expanded counts as empty: for looking around, not for running."""
        try:
            return self.raw(name) or ""
        except ConfigError:
            return ""


class _LmtpConfig(Config):
    """Reads a twin where a program asks for an ``smtp_`` parameter; ``$smtp_…`` within values means what it says."""

    def expanded(self, name: str) -> str:
        return super().expanded(_LMTP_OF.get(name, name))

    def unexpanded(self, name: str) -> str:
        return super().unexpanded(_LMTP_OF.get(name, name))

    def bad_value(self, name: str, reason: str) -> ConfigError:
        return super().bad_value(_LMTP_OF.get(name, name), reason)


def suggest(name: str) -> str:
    """``; did you mean smtpd_timeout?`` for a name close to a declared one, else nothing."""
    close = get_close_matches(name, _names(), 1, 0.75)
    return f"; did you mean {close[0]}?" if close else ""


@lru_cache(1)
def _names() -> tuple[str, ...]:
    return tuple(DECLARED)


def from_text(
    text: str, directory: str = "/etc/tubepost", overrides: Mapping[str, str] | None = None, file: str = "main.cf"
) -> Config:
    """A Config of main.cf's text. Raises ConfigError for the first line that cannot be read; warnings are kept."""
    config = inspect_text(text, directory, overrides, file)
    for fault in config.warnings:
        if fault.severity == "error":
            raise ConfigError(fault.reason, file=fault.file, line=fault.line, name=fault.name)
    return config


def inspect_text(
    text: str, directory: str = "/etc/tubepost", overrides: Mapping[str, str] | None = None, file: str = "main.cf"
) -> Config:
    """The same for looking: lines that cannot be read are left out, and ``check()`` tells of them with the rest."""
    settings, faults = mainfile.parse(text, file)
    texts = {setting.name: setting.value for setting in settings}
    places = {setting.name: Place(file, setting.line) for setting in settings}
    return Config(directory, texts, overrides, places, faults)


def load(directory: str, overrides: Mapping[str, str] | None = None) -> Config:
    """Read ``main.cf`` in ``directory``. ``overrides`` are the -o options of a master.cf entry.

    Raises ConfigError when the file cannot be read or a line has no ``name = value``.
    """
    path = f"{directory}/main.cf"
    return from_text(_read(path), directory, overrides, path)


def inspect(directory: str) -> Config:
    """The same for looking, as inspect_text. Raises ConfigError only when the file cannot be read at all."""
    path = f"{directory}/main.cf"
    return inspect_text(_read(path), directory, None, path)


def _read(path: str) -> str:
    try:
        # Bytes that are not UTF-8 must survive: a path or a password may hold them.
        return Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise ConfigError(f"cannot read it: {error.strerror or error}", file=path) from None
