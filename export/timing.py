"""Timing of several sides in turn: single figures of a busy machine mean little, medians of ones taken in turn do."""

import statistics
import time
from collections.abc import Callable, Mapping


def in_turn(calls: Mapping[str, Callable[[], float]], rounds: int, warm_up: int = 2) -> dict[str, float]:
    """Measures sides in turn.

    Args:
      calls: functions that work once and return how long it took, by name.
      rounds: number of measurements of each.
      warm_up: number of rounds before those, which don't count.

    Returns:
      Median of each.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for round_number in range(rounds + warm_up):
        for name, call in calls.items():
            value = call()
            if round_number >= warm_up:
                times[name].append(value)
    return {name: statistics.median(each) for name, each in times.items()}


def timed(work: Callable[[], object], repeat: int = 1) -> Callable[[], float]:
    """Makes a function that works `repeat` times and returns the seconds of one."""

    def call() -> float:
        start = time.perf_counter()
        for _ in range(repeat):
            work()
        return (time.perf_counter() - start) / repeat

    return call
