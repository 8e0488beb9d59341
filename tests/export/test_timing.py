"""Sides are timed in turn."""

import time

from export import timing


def test_long_measurements_end_after_a_few_rounds(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    counts = {"a": 0, "b": 0}

    def side(name):
        def call():
            counts[name] += 1
            now[0] += 1
            return float(counts[name])

        return call

    assert timing.in_turn({name: side(name) for name in counts}, 30, warm_up=2, seconds=3) == {"a": 4, "b": 4}
    assert counts == {"a": 5, "b": 5}


def test_the_clock_of_work_stands_while_others_work():
    clock = timing.cpu_clock()
    assert timing.timed(lambda: time.sleep(0.05), clock=clock)() < 0.03
    assert timing.timed(lambda: sum(range(10_000)), repeat=3, clock=clock)() > 0
