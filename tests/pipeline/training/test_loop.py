"""The loop, with steps that compute nothing and callbacks from outside."""

import ast
import inspect
import math
import os
import signal
import threading

import numpy as np
import pytest
import tensorflow as tf

from pipeline import Callback, MirageError, Training
from pipeline.base.interrupt import Interrupt
from pipeline.cluster.watch import Watchdog
from pipeline.devices.compilation import KeptCode
from pipeline.runs.calling import Callbacks
from pipeline.training import loop
from pipeline.training.first_step import FirstStep


class Steps:
    """Counts steps; the figure is the number of the last one."""

    metric_names = ("figure",)
    jit = False

    def __init__(self, during=lambda step: None):
        self.calls, self.stops, self.done, self._during = [], [], 0, during

    def trace(self, num_steps, stop):
        return None

    def __call__(self, num_steps, stop):
        self.calls.append(int(num_steps))
        self.stops.append(float(stop))
        self.done += int(num_steps)
        self._during(self.done)
        return tf.constant([float(self.done)]), tf.constant(bool(stop > 0))


class Checkpoints:
    """Notes what is saved."""

    def __init__(self, training_of):
        self.saved, self._of = [], training_of

    def save(self):
        self.saved.append(self._of().step)

    def wait(self):
        pass


class Log:
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)

    def note(self, text):
        pass


class Notes(Callback):
    def __init__(self, every=0, at=()):
        self.every, self.at, self.seen = every, at, []

    def on_start(self, training):
        self.seen.append("start")

    def on_interval(self, training):
        self.seen.append((training.step, training.metrics.get("figure")))

    def on_stop(self, training):
        self.seen.append("stop")

    def on_end(self, training):
        self.seen.append("end")


def run(callbacks, step=None, *, steps=10, start=0, steps_per_call=4, chief=True, alone=True, interrupt=None):
    """Returns (the step, what stopped the loop, checkpoints)."""
    step = step or Steps()
    step.done = start
    with interrupt or Interrupt() as heard:
        checkpoints = Checkpoints(lambda: training) if chief else None
        training = Training({}, None, None, None, checkpoints, heard, step=start, steps=steps, resumed=start > 0)
        training.metric_names = list(step.metric_names)
        training.log = Log()
        calls = Callbacks(callbacks, training)
        around = loop.Around(heard, Watchdog(math.inf), FirstStep(KeptCode(None), speaks=False), alone)
        with calls.started():
            cause = loop.run(step, training, calls, around, steps_per_call=steps_per_call)
            if cause is not None:
                calls.stopped()
    return step, cause, checkpoints


def test_it_knows_neither_what_is_recorded_nor_what_is_trained():
    tree = ast.parse(inspect.getsource(loop))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    imported = {f"{n.module}.{a.name}" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}
    words = ("log", "preview", "picture", "evaluat", "score", "checkpoint", "profile", "loss", "network", "generator")
    assert [name for name in names | imported for word in words if word in name.lower()] == []
    assert {name for name in imported if name.startswith("pipeline.training")} == {
        "pipeline.training.first_step.FirstStep",
        "pipeline.training.first_step.Step",
    }


def test_callbacks_come_at_their_intervals_with_the_means_since_the_time_before():
    often, seldom, points = Notes(3), Notes(5), Notes(at=(1, 4))
    step, cause, _ = run([often, seldom, points])
    assert cause is None
    assert step.calls == [1, 2, 1, 1, 1, 2, 1, 1]  # of at most four, the first alone
    assert [each for each in often.seen if isinstance(each, tuple)] == [
        (3, pytest.approx((1 * 1 + 2 * 3) / 3)),
        (6, pytest.approx(5)),
        (9, pytest.approx((8 * 2 + 9 * 1) / 3)),
        (10, 10),
    ]
    assert [each[0] for each in seldom.seen[1:-1]] == [5, 10]
    assert [each[0] for each in points.seen[1:-1]] == [1, 4]  # and not after the last step
    assert often.seen[0], often.seen[-1] == ("start", "end")


@pytest.mark.parametrize("start", [0, 3, 7])
def test_all_workers_make_the_same_calls_though_one_alone_calls_back(start):
    def callbacks():
        return [Notes(3), Notes(5, at=(8,))]

    chief, _, _ = run(callbacks(), start=start)
    others = callbacks()
    other, _, _ = run(others, start=start, chief=False)
    assert other.calls == chief.calls
    assert [each.seen for each in others] == [[], []]


def test_a_callback_stops_the_training_early_which_is_saved():
    class Enough(Callback):
        every = 2

        def on_interval(self, training):
            if training.metrics["figure"] > 5:
                training.stop("it is enough")

    notes = Notes()
    step, cause, checkpoints = run([Enough(), notes])
    assert (step.done, cause, checkpoints.saved) == (6, "it is enough", [6])
    assert notes.seen == ["start", "stop", "end"]


def test_in_a_cluster_all_stop_at_the_step_that_has_told_them():
    class Enough(Callback):
        every = 2

        def on_interval(self, training):
            if training.step == 4:
                training.stop("enough")

    step, cause, checkpoints = run([Enough()], alone=False)
    assert cause == "enough"
    assert step.stops == [0, 0, 0, 1]
    assert checkpoints.saved == [step.done] == [6]


def test_another_thread_stops_it():
    heard = Interrupt()
    wait = threading.Event()

    def during(done):
        if done > 4:
            wait.wait(10)

    def ask():
        heard.ask("told by a friend")
        wait.set()

    threading.Timer(0.1, ask).start()
    step, cause, checkpoints = run([], Steps(during), interrupt=heard)
    assert (cause, checkpoints.saved) == ("told by a friend", [step.done])
    assert step.done < 10


def test_it_runs_in_a_thread_where_signals_can_not_be_heard():
    before = signal.getsignal(signal.SIGINT)
    found = []
    thread = threading.Thread(target=lambda: found.append(run([Notes(3)])[1]))
    thread.start()
    thread.join()
    assert found == [None]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("hook", ["on_steps", "on_interval"])
def test_what_a_callback_raises_is_told_with_its_name_when_the_training_is_saved(hook):
    class Broken(Callback):
        every = 3

    def fail(self, training, *_):
        if training.step >= 3:
            raise KeyError("nobody")

    setattr(Broken, hook, fail)
    notes = Notes(3)
    saved = []
    sentence = r"the callback Broken failed after step 3: KeyError: 'nobody' \(.*line \d+"
    with pytest.raises(MirageError, match=sentence) as e:
        run([SaveNotes(saved), Broken(), notes])
    assert isinstance(e.value.__cause__, KeyError)
    assert "the training is saved at that step" in str(e.value)
    assert "\n" not in str(e.value)
    assert saved == [3]
    assert notes.seen == ["start", "end"]


class SaveNotes(Callback):
    """Watches what is saved."""

    def __init__(self, saved):
        self._saved = saved

    def on_start(self, training):
        self._training = training

    def on_end(self, training):
        self._saved += training._checkpoints.saved


@pytest.mark.parametrize("hook", ["on_start", "on_end"])
def test_a_callback_that_fails_at_either_end_leaves_no_other_open(hook):
    class Broken(Callback):
        pass

    def fail(self, training):
        raise ValueError("no")

    setattr(Broken, hook, fail)
    before, after = Notes(), Notes()
    with pytest.raises(MirageError, match=r"the callback Broken failed .*ValueError: no"):
        run([before, Broken(), after])
    assert before.seen == ["start", "end"]
    assert after.seen == ([] if hook == "on_start" else ["start", "end"])


def test_a_request_breaks_off_what_may_be_and_nothing_else():
    done = []

    class Long(Callback):
        every = 4

        def on_interval(self, training):
            done.append(training.breakable(lambda: os.kill(os.getpid(), signal.SIGTERM) or "done"))
            done.append(training.breakable(lambda: "done"))

    notes = Notes(4)
    step, cause, checkpoints = run([Long(), notes])
    assert (step.done, cause, checkpoints.saved) == (4, signal.SIGTERM, [4])
    assert done == [None, None]
    assert [each[0] for each in notes.seen if isinstance(each, tuple)] == [4]


def test_a_figure_that_is_not_finite_ends_it():
    class Diverging(Steps):
        def __call__(self, num_steps, stop):
            means, stopping = super().__call__(num_steps, stop)
            return means * (np.nan if self.done > 4 else 1), stopping

    notes = Notes(4)
    with pytest.raises(MirageError, match="diverged: at step 8 figure = nan"):
        run([notes], Diverging())
    assert notes.seen == ["start", (4, pytest.approx((1 + 3 * 4) / 4)), "end"]
