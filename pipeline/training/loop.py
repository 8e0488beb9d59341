"""The host loop: some steps, then whatever is due, until the last step or a request to stop."""

import dataclasses
import functools
import signal
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.base.interrupt import Interrupt
from pipeline.cluster.watch import Watchdog
from pipeline.devices.out_of_memory import out_of_memory
from pipeline.runs.callback import Training
from pipeline.runs.calling import Callbacks
from pipeline.training.first_step import FirstStep, Step

StoppedBy = signal.Signals | str | None


@dataclasses.dataclass(frozen=True)
class Around:
    """What stands around the loop.

    Attributes:
      interrupt: hears requests to stop.
      watchdog: watches how long the process waits for others.
      first_step: tells what goes on while the step is compiled.
      alone: whether there is no other worker.
    """

    interrupt: Interrupt
    watchdog: Watchdog
    first_step: FirstStep
    alone: bool


def run(step: Step, training: Training, callbacks: Callbacks, around: Around, *, steps_per_call: int) -> StoppedBy:
    """Trains from `training.step` to `training.steps`.

    Args:
      step: does the steps.
      training: is told how far they are.
      callbacks: what is done at intervals; they have been started.
      around: what stands around.
      steps_per_call: most steps to do in one call.

    Returns:
      What ended it early, or None. Where a request came to another worker, it is taken for SIGTERM.

    Raises:
      MirageError: if a figure is not finite, or from the callbacks.
    """
    interrupt, alone, first = around.interrupt, around.alone, training.step
    if not alone:
        interrupt.hold()  # the others wait for this worker's step, whenever a request to stop comes
    while training.step < training.steps:
        count = 1 if training.step == first else _steps_of_call(training, callbacks, steps_per_call)
        means, stopping = _call(step, training, around, count, compiles=training.step == first)
        training.step += count
        if not np.all(np.isfinite(means)):
            raise MirageError(_not_finite(training.step, step.metric_names, means))
        stop = interrupt.asked if alone else stopping
        last = training.step == training.steps
        callbacks.steps_done(means, count)
        if count == training.step - first:
            training.say(around.first_step.sentence())
        complete = not stop and callbacks.call_due(last=last)
        # Who is alone need not tell the others with the next step.
        if not complete if last else stop or (alone and interrupt.asked):
            return interrupt.signal or interrupt.reason or signal.SIGTERM
    return None


def _call(step: Step, training: Training, around: Around, count: int, *, compiles: bool) -> tuple[np.ndarray, bool]:
    asked = around.interrupt.asked  # read once: what comes later in this round is for the next one
    call = functools.partial(around.first_step.call, step, show=training.note) if compiles else step
    doing = f"the other workers after step {training.step:,}"
    waiting = around.watchdog.waiting(doing, working=compiles)  # it compiles first
    with waiting, out_of_memory(f"training after step {training.step:,}"):
        means, stopping = call(tf.constant(count, tf.int64), tf.constant(float(asked)))
        stopping.numpy()
        around.interrupt.hold()  # from the first steps on there is something to save
    return means.numpy(), bool(stopping)


def _steps_of_call(training: Training, callbacks: Callbacks, steps_per_call: int) -> int:
    """Steps that may run in one call, so that what is due comes when it should."""
    step = training.step
    due = callbacks.until_next(step)
    ends = [training.steps - step, steps_per_call - step % steps_per_call, *([] if due is None else [due])]
    return min(ends)


def _not_finite(step: int, names: Sequence[str], means: np.ndarray) -> str:
    figures = ", ".join(f"{name} = {value}" for name, value in zip(names, means, strict=True) if not np.isfinite(value))
    return (
        f"training has diverged: at step {step} {figures}; the last good checkpoint is kept: lower --learning_rate, "
        "and start in a new --run_dir."
    )
