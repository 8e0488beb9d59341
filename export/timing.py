"""Timing of several sides in turn: single figures of a busy machine mean little, medians of ones taken in turn do."""

import math
import statistics
import time
from collections.abc import Callable, Mapping

Clock = Callable[[], float]
_FEWEST = 3


def cpu_clock() -> Clock:
    """A clock of the calling thread's work, which others on the same machine don't make longer; in seconds."""
    # Windows counts it in steps of 16 ms.
    fine = time.get_clock_info("thread_time").resolution <= 1e-6
    return time.thread_time if fine else time.perf_counter


def in_turn(
    calls: Mapping[str, Callable[[], float]], rounds: int, warm_up: int = 2, seconds: float = math.inf
) -> dict[str, float]:
    """Measures sides in turn.

    Args:
      calls: functions that work once and return how long it took, by name.
      rounds: number of measurements of each.
      warm_up: number of rounds before those, which don't count.
      seconds: after as many, three rounds that count are enough, and one before those.

    Returns:
      Median of each.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    for _ in range(warm_up):
        for call in calls.values():
            call()
        if time.perf_counter() > end:
            break
    for round_number in range(rounds):
        if round_number >= _FEWEST and time.perf_counter() > end:
            break
        for name, call in calls.items():
            times[name].append(call())
    return {name: statistics.median(each) for name, each in times.items()}


def timed(work: Callable[[], object], repeat: int = 1, clock: Clock = time.perf_counter) -> Callable[[], float]:
    """Makes a function that works `repeat` times and returns the seconds of one."""

    def call() -> float:
        start = clock()
        for _ in range(repeat):
            work()
        return (clock() - start) / repeat

    return call
