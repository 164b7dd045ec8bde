"""What can be wrong with a configuration: faults to list, and the one exception to stop with. Pure."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong, with its place. ``line`` counts from 1; 0 when no line is to blame."""

    file: str
    line: int
    name: str
    """The parameter or service; empty when there is none."""
    reason: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        place = f"{self.file}, line {self.line}: " if self.line else f"{self.file}: " if self.file else ""
        about = f"{self.name}: " if self.name else ""
        return f"{place}{about}{self.reason}"


class ConfigError(ValueError):
    """The configuration cannot be used as it is."""

    def __init__(self, reason: str, *, file: str = "", line: int = 0, name: str = "") -> None:
        self.file = file
        self.line = line
        self.name = name
        self.reason = reason
        super().__init__(str(Fault(file, line, name, reason)))

    @property
    def fault(self) -> Fault:
        return Fault(self.file, self.line, self.name, self.reason)
