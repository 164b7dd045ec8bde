"""Paired runs: tubepost, Postfix, tubepost, Postfix …; each pair gives a ratio, the median is reported."""

from bench.ground import median
from bench.systems import System, settle, timed


def pairs(
    ours: System, theirs: System, rounds: int, count: int, sessions: int, size: int, recipient: str, *options: str
) -> tuple[float, float]:
    """Print each pair; return the median ratios of rate and of CPU a message."""
    for system in (ours, theirs):
        timed(system, max(count // 10, 20), sessions, size, recipient, *options)  # warm
        settle(system)
    rates: list[float] = []
    costs: list[float] = []
    for number in range(rounds):
        our_rate, our_cpu = timed(ours, count, sessions, size, recipient, *options)
        settle(ours)
        their_rate, their_cpu = timed(theirs, count, sessions, size, recipient, *options)
        rates.append(our_rate / their_rate)
        costs.append(our_cpu / their_cpu)
        print(
            f"pair {number + 1}: tubepost {our_rate:.0f}/s {our_cpu:.2f} ms CPU; "
            f"postfix {their_rate:.0f}/s {their_cpu:.2f} ms CPU; ratio {rates[-1]:.2f}, CPU {costs[-1]:.2f}",
            flush=True,
        )
    print(f"median ratio: {median(rates):.2f} times Postfix's rate, {median(costs):.2f} of its CPU a message")
    return median(rates), median(costs)
