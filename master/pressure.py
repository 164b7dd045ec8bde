"""Load to limits: under memory pressure the process limits go down step by step, and up again after. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """stall: percent of time that some task waited for memory (PSI avg10). used: percent of the memory limit."""

    stall: float
    used: float


@dataclass(frozen=True, slots=True)
class Thresholds:
    stall_high: float
    stall_low: float
    used_high: float
    used_low: float


STEPS = (100, 75, 50, 25, 10)
"""Percent of the configured limits, one a level."""


def next_level(level: int, load: Load, thresholds: Thresholds) -> int:
    """The level for the next interval: one step down the table under pressure, one back when both are low."""
    if load.stall >= thresholds.stall_high or load.used >= thresholds.used_high:
        return min(level + 1, len(STEPS) - 1)
    if load.stall <= thresholds.stall_low and load.used <= thresholds.used_low:
        return max(level - 1, 0)
    return level


def limit_at(level: int, maxproc: int, default: int) -> int:
    """Most processes of a service at this level; services of one process, and level 0, keep their own."""
    if level == 0 or maxproc == 1:
        return maxproc
    return max(1, (maxproc or default) * STEPS[level] // 100)


def parse_stall(text: str) -> float:
    """``some avg10=…`` of /proc/pressure/memory; 0.0 for anything else."""
    for line in text.splitlines():
        if line.startswith("some "):
            for word in line.split():
                if word.startswith("avg10="):
                    try:
                        return float(word[6:])
                    except ValueError:
                        return 0.0
    return 0.0
