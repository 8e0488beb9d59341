import re
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.devices.compilation import KeptCode
from pipeline.training import jit
from pipeline.training.first_step import FirstStep
from pipeline.training.jit import choose_step, measure_jit


class Trainee:
    def __init__(self):
        self.weight = tf.Variable(1.0)

    def state(self):
        return {"weight": self.weight}


class Step:
    """A step that takes its time, and counts its calls."""

    def __init__(self, trainee, jit, seconds, convolutions=0, error=None):
        self.jit, self.calls, self.seconds, self.fresh = jit, [], seconds, False
        self._trainee, self._error, self._convolutions = trainee, error, convolutions

    def __call__(self, count, stop):
        if self._error:
            raise self._error
        self.calls.append(int(count))
        self._trainee.weight.assign_add(1.0)
        return tf.zeros([1]), tf.constant(False)

    def trace(self, count, stop):
        graph = tf.Graph()
        nodes = [SimpleNamespace(op="Conv2DBackpropInput")] * self._convolutions + [SimpleNamespace(op="Add")]
        graph.as_graph_def = lambda: SimpleNamespace(
            library=SimpleNamespace(function=[SimpleNamespace(node_def=nodes)])
        )
        return graph

    def rewound(self):
        self.fresh = True
        return self


@pytest.fixture
def race(monkeypatch):
    """Returns a function that measures two sides on a clock that their steps move, and what both did."""

    def run(plain_s, compiled_s, steps_left=100_000, agree=lambda count: count, alone=True, **compiled):
        trainee, built = Trainee(), []
        convolutions = compiled.pop("convolutions", 0)

        def build(*, jit):
            seconds = compiled_s if jit else plain_s
            built.append(Step(trainee, jit, seconds, convolutions, **(compiled if jit else {})))
            return built[-1]

        def timed(side, count):
            side(*jit._arguments(count))
            return side.seconds * count

        monkeypatch.setattr(jit, "_run", timed)
        chosen = measure_jit(trainee, steps_left, build, agree, FirstStep(KeptCode(None), speaks=False), alone=alone)
        np.testing.assert_array_equal(trainee.weight, 1.0)  # the measurement has left no trace
        return *chosen, built

    return run


@pytest.mark.parametrize(("plain_s", "compiled_s"), [(0.1, 0.05), (0.05, 0.1)])
def test_the_faster_side_is_the_one_that_trains_and_neither_is_built_twice(race, plain_s, compiled_s):
    step, with_xla, sentence, built = race(plain_s, compiled_s)
    assert [each.jit for each in built] == [False, True]
    assert step is built[int(with_xla)]
    assert step.fresh
    assert with_xla == (compiled_s < plain_s)
    on = "on" if with_xla else "off"
    assert sentence == f"XLA: {on} ({1 / compiled_s:.1f} steps/s with it, {1 / plain_s:.1f} without)"


def test_the_race_takes_two_percent_of_the_run_at_most(race):
    for steps_left in (1_000, 2_000, 50_000):
        *_, built = race(0.1, 0.1, steps_left)
        assert sum(sum(each.calls[1:]) for each in built) <= 0.02 * steps_left


def test_what_takes_longer_to_compile_than_it_can_win_is_not_compiled(race):
    step, with_xla, sentence, built = race(0.01, 0.005, steps_left=5_000, convolutions=200)
    assert step is built[0]
    assert step.fresh
    assert not with_xla
    assert len(built) == 1
    assert sentence == "XLA: off (this run takes about 50 s without it, and compiling about 55 s)"
    assert race(0.01, 0.005, steps_left=50_000, convolutions=200)[1]


def failing(kind, text):
    return kind(None, None, text)


@pytest.mark.parametrize(
    ("error", "decided"),
    [
        (failing(tf.errors.UnimplementedError, "no such kernel"), False),
        (ValueError("no"), False),
        (failing(tf.errors.ResourceExhaustedError, "no memory"), None),
        (MirageError("no disk"), None),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_xla_cannot_compile_runs_without_it(race, error, decided):
    step, with_xla, sentence, built = race(0.1, 0.05, error=error)
    assert step is built[0]
    assert with_xla is decided
    assert re.fullmatch(r"XLA: off, as it can't compile this step \(no.*\)", sentence)


@pytest.mark.parametrize(
    "error", [failing(tf.errors.ResourceExhaustedError, "no memory"), failing(tf.errors.UnavailableError, "gone")]
)
def test_a_worker_that_alone_fails_to_compile_leaves_the_others(race, error):
    with pytest.raises(type(error)):
        race(0.1, 0.05, error=error, alone=False)


def test_all_workers_of_a_cluster_go_by_the_chiefs_figures(race):
    proposed = []
    chiefs = iter([round(1e6 * 0.05), 5, 1])  # seconds for a step, to compile; XLA is faster

    def agree(count):
        proposed.append(count)
        return next(chiefs)

    step, with_xla, _, built = race(0.1, 0.2, agree=agree)
    assert proposed == [100_000, 5, 0]
    assert with_xla
    assert step is built[1]
    assert built[0].calls == [2, 2, *[6] * 5]  # 0.3 s at the chief's speed
    assert built[1].calls == [2, *[6] * 5]


@pytest.mark.parametrize(
    ("model", "steps", "decided"), [("mlp", 1000, True), ("dcgan", 1000, False), ("mlp", 999, None)]
)
def test_on_cpus_nothing_is_measured(tmp_path, capsys, model, steps, decided):
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    config = Config(model=model, steps=steps, run_dir=str(tmp_path))
    built = []
    step, told = choose_step(
        config, steps, tmp_path, strategy, None, lambda jit: built.append(jit) or "step", lambda: 1 / 0, model != "mlp"
    )
    assert step == "step"
    assert built == [bool(decided)]
    assert told is decided
    assert capsys.readouterr().out.startswith("" if decided is None else f"XLA: {'on' if decided else 'off'} (on CPUs")


@pytest.mark.parametrize("wanted", ["on", "off"])
def test_who_says_which_gets_it(tmp_path, wanted):
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    config = Config(jit=wanted, run_dir=str(tmp_path))
    assert choose_step(config, 5000, tmp_path, strategy, None, lambda jit: jit, lambda: 1 / 0, True) == (
        wanted == "on",
        wanted == "on",
    )
