"""How a parameter is declared: once, with its type, its default in main.cf syntax and one sentence about it.

    class Smtpd(Settings):
        smtpd_timeout = Time("${stress?{10}:{300}}s", "How long the server waits for …")

``config.smtpd_timeout`` is then a ``float``. The first access expands and parses the text and leaves the value in the
instance; as a descriptor without ``__set__`` gives way to it, every later access is a plain attribute.
"""

from collections.abc import Callable, Iterator
from typing import Any, Generic, Self, TypeVar, overload

from tubepost.common.config import values

T = TypeVar("T")


class Settings:
    """What declarations live in. ``Config`` is its only concrete form."""

    def expanded(self, name: str) -> str:
        """The text of a declared parameter, references replaced. Raises ConfigError."""
        raise NotImplementedError

    def unexpanded(self, name: str) -> str:
        """The same as it stands in main.cf."""
        raise NotImplementedError

    def bad_value(self, name: str, reason: str) -> Exception:
        """The ConfigError to raise for a value that cannot be parsed."""
        raise NotImplementedError


class Parameter(Generic[T]):
    """One declaration. ``postfix`` False marks a name that Postfix does not have."""

    kind = "text"

    def __init__(
        self,
        default: str,
        doc: str,
        *,
        postfix: bool = True,
        name: str = "",
        computed: Callable[[Any], str] | None = None,
    ) -> None:
        self.default = default
        self.doc = doc
        self.postfix = postfix
        self.name = name
        self.attribute = ""
        self.computed = computed
        """Gives the default where it depends on the host; ``default`` then says so in words."""

    def __set_name__(self, owner: type, attribute: str) -> None:
        self.attribute = attribute
        self.name = self.name or attribute

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: Settings, owner: type) -> T: ...
    def __get__(self, instance: Settings | None, owner: type) -> Self | T:
        if instance is None:
            return self
        value = self.read(instance)
        instance.__dict__[self.attribute] = value
        return value

    def read(self, settings: Settings) -> T:
        text = settings.expanded(self.name)
        try:
            return self.parse(text)
        except ValueError as error:
            raise settings.bad_value(self.name, str(error)) from None

    def parse(self, text: str) -> T:
        """The value of expanded text. Raises ValueError with the reason."""
        raise NotImplementedError


class Text(Parameter[str]):
    """Any text; ``low`` and ``high`` bound its length."""

    def __init__(
        self,
        default: str,
        doc: str,
        *,
        low: int = 0,
        high: int = 0,
        postfix: bool = True,
        name: str = "",
        computed: Callable[[Any], str] | None = None,
    ) -> None:
        super().__init__(default, doc, postfix=postfix, name=name, computed=computed)
        self.low = low
        self.high = high

    def parse(self, text: str) -> str:
        if len(text) < self.low:
            raise ValueError("must not be empty" if not text else f"at least {self.low} characters are needed")
        if self.high and len(text) > self.high:
            raise ValueError(f"at most {self.high} characters are allowed")
        return text


class Raw(Text):
    """Text whose ``$name`` are not expanded when it is read: the program fills them in later."""

    kind = "text expanded at use"

    def read(self, settings: Settings) -> str:
        text = settings.unexpanded(self.name)
        try:
            return self.parse(text)
        except ValueError as error:
            raise settings.bad_value(self.name, str(error)) from None


class Restrictions(Text):
    """A restriction list of smtpd, which parses it itself."""

    kind = "restrictions"


class Integer(Parameter[int]):
    """A whole number; ``high`` None: as large as a C int."""

    kind = "number"
    largest = values.INT_MAX

    def __init__(
        self, default: str, doc: str, *, low: int = 0, high: int | None = None, postfix: bool = True, name: str = ""
    ) -> None:
        super().__init__(default, doc, postfix=postfix, name=name)
        self.low = low
        self.high = high

    def parse(self, text: str) -> int:
        return values.integer(text, low=self.low, high=self.high or self.largest)


class Size(Integer):
    """Bytes."""

    kind = "bytes"
    largest = values.LONG_MAX


class Time(Parameter[float]):
    """Seconds. A number without a unit has the unit of the default, as in Postfix."""

    kind = "time"

    def __init__(
        self,
        default: str,
        doc: str,
        *,
        low: float = 0,
        high: float = 0,
        unit: str = "",
        postfix: bool = True,
        name: str = "",
    ) -> None:
        super().__init__(default, doc, postfix=postfix, name=name)
        self.low = low
        self.high = high
        last = default[-1:]
        self.unit = unit or (last if last in "smhdw" and not default.startswith("$") else "s")

    def parse(self, text: str) -> float:
        return values.time(text, self.unit, low=self.low, high=self.high)


class Boolean(Parameter[bool]):
    kind = "yes or no"

    def parse(self, text: str) -> bool:
        return values.boolean(text)


class Choice(Parameter[str]):
    """One word of several."""

    kind = "one of"

    def __init__(
        self, default: str, doc: str, *, choices: tuple[str, ...], postfix: bool = True, name: str = ""
    ) -> None:
        super().__init__(default, doc, postfix=postfix, name=name)
        self.choices = choices

    def parse(self, text: str) -> str:
        return values.choice(text, self.choices)


class List(Parameter[tuple[str, ...]]):
    """Items separated by commas or white space; ``choices`` restricts them to known words."""

    kind = "list"

    def __init__(
        self,
        default: str,
        doc: str,
        *,
        choices: tuple[str, ...] = (),
        postfix: bool = True,
        name: str = "",
        computed: Callable[[Any], str] | None = None,
    ) -> None:
        super().__init__(default, doc, postfix=postfix, name=name, computed=computed)
        self.choices = choices

    def parse(self, text: str) -> tuple[str, ...]:
        items = values.split(text)
        if self.choices:
            return tuple(values.choice(item, self.choices) for item in items)
        return items


class Maps(List):
    """Lookup tables, ``type:name``, asked in order."""

    kind = "tables"


AnyParameter = Parameter[Any]


def declarations(settings: type[Settings]) -> Iterator[AnyParameter]:
    """Every parameter of a class and its bases, in order of declaration, bases in their order."""
    seen: set[str] = set()
    for klass in settings.__mro__:
        for value in vars(klass).values():
            if isinstance(value, Parameter) and value.name not in seen:
                seen.add(value.name)
                yield value
