"""What is done while a training goes on, at intervals: by Mirage itself, and by anybody. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.base.errors import MirageError
from pipeline.runs.patience import USUAL_GOAL, Goal

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.base.interrupt import Interrupt
    from pipeline.base.parameters import Parameters
    from pipeline.data.dataset import Dataset
    from pipeline.runs.checkpoint import Checkpoints
    from pipeline.runs.run_log import RunLog
    from serving.attributes import AttributeValues
    from serving.labels import Labels

_Result = TypeVar("_Result")


class Callback:
    """Something to be done while a training goes on: subclass it, and override what is needed.

      class Watch(Callback):
          every = 100

          def on_interval(self, training):
              if training.metrics["d_loss"] < 0.01:
                  training.stop("D has won")

    The methods are called in one process, the one that writes the run directory; but in a cluster each worker needs the
    same callbacks with the same intervals, because these decide how many steps run in one call. What raises an
    exception ends the training, which is saved first.

    Attributes:
      every: steps between two calls of `on_interval`, which is called after the last step as well; 0 for none.
      at: further numbers of steps after which it is called.
    """

    every: int = 0
    at: Sequence[int] = ()

    def on_prepare(self, training: Training) -> None:
        """Is called once before anything is written: what can't work is refused here, with a `MirageError`."""

    def on_start(self, training: Training) -> None:
        """Is called before the first step."""

    def on_steps(self, training: Training, means: NDArray[np.float32], count: int) -> None:
        """Is called whenever some steps are done, about `--steps_per_call` of them; it should be quick.

        Args:
          training: the training.
          means: means of the figures over these steps, in the order of `training.metric_names`.
          count: number of these steps.
        """

    def on_interval(self, training: Training) -> None:
        """Is called after each `every` steps, after those of `at`, and where `every` is set after the last step."""

    def on_stop(self, training: Training) -> None:
        """Is called when the training ends early, on request; it has been saved."""

    def on_end(self, training: Training) -> None:
        """Is called at the end in any case, also after an error, if `on_start` was: for what must be closed."""


class Training:
    """A training as its callbacks see it.

    Attributes:
      config: the value of every flag.
      run_dir: the run directory.
      dataset: what it is trained on: `spec`, `images` and `labels`.
      generator: the generator that previews, evaluations and exports use: the average one, unless it is turned off.
      step: steps done.
      steps: number of the last step.
      resumed: whether it goes on from a checkpoint.
      metric_names: names of the figures.
      metrics: their means over the steps since this callback's `on_interval` before, by name.
      scores: those of the last evaluation in this process, such as `frechet_distance`; empty before the first.
      log: the run's log, from `on_start` on.
      complete: whether nothing of what was due at this step was broken off by a request to stop.
    """

    log: RunLog

    def __init__(
        self,
        config: Parameters,
        run_dir: Path,
        dataset: Dataset,
        generator: keras.Model,
        checkpoints: Checkpoints | None,
        interrupt: Interrupt,
        *,
        step: int,
        steps: int,
        resumed: bool,
    ) -> None:
        """Takes what it shows; callbacks are given it, and need not make it."""
        self.config: Any = config  # of which a callback takes the part that it knows
        self.run_dir = run_dir
        self.dataset = dataset
        self.generator = generator
        self.step = step
        self.steps = steps
        self.resumed = resumed
        self.metric_names: list[str] = []
        self.metrics: Mapping[str, float] = {}
        self.scores: Mapping[str, float] = {}
        self.complete = True
        self._checkpoints = checkpoints
        self._interrupt = interrupt

    @property
    def chief(self) -> bool:
        """Whether this process writes the run directory."""
        return self._checkpoints is not None

    def sample(
        self, n: int, seed: int = 0, labels: Labels = None, *, attributes: AttributeValues = None
    ) -> NDArray[np.uint8]:
        """Makes `n` images, uint8 [n, H, W, C], with the generator as it is now; see `pipeline.Run.sample`."""
        from pipeline.runs.sampling import sample

        return sample(self.generator, self.config, self.dataset.spec, n, seed, labels, attributes=attributes)

    def save(self, *, wait: bool = True) -> None:
        """Saves the present state.

        Args:
          wait: whether to return when it is on disk; else it is written while the training goes on.

        Raises:
          MirageError: if a weight is not finite, or it can't be written.
        """
        if self._checkpoints is not None:
            self._checkpoints.save()
            if wait:
                self._checkpoints.wait()

    def finish_saving(self) -> None:
        """Returns when what was saved is on disk; raises MirageError if it can't be written."""
        if self._checkpoints is not None:
            self._checkpoints.wait()

    def keep_if_best(self, value: float, goal: Goal = USUAL_GOAL) -> None:
        """Saves the present state, and keeps it for `--checkpoint=best`, if it is better than all before.

        Args:
          value: of what it is compared by.
          goal: what that is; a Fréchet distance unless something else is said. Where it was another one so far, the
            best begins anew.
        """
        if self._checkpoints is not None:
            self._checkpoints.keep_if_best(value, goal)

    def say(self, line: str) -> None:
        """Prints a line, above the progress bar once that is there."""
        if self.chief:
            (self.log.say if hasattr(self, "log") else print)(line)

    def note(self, text: str) -> None:
        """Shows a text behind the progress bar, in place of the one before."""
        if self.chief and hasattr(self, "log"):
            self.log.note(text)

    def stop(self, reason: str) -> None:
        """Ends the training after this step; it is saved, and the same command goes on from there.

        Args:
          reason: what is said of it, and what `stopped_by` of the run will be.
        """
        self._interrupt.ask(reason)

    def breakable(self, work: Callable[[], _Result]) -> _Result | None:
        """Does what takes long, such as an evaluation, so that a request to stop may break it off at any point.

        Args:
          work: must leave everything well when `KeyboardInterrupt` is raised in it.

        Returns:
          What `work` returns; None if it was broken off or, because of an earlier request, not begun.
        """
        result = self._interrupt.breakable(work)
        if self._interrupt.signal is not None and result is None:
            self.complete = False
        return result


def check_callbacks(callbacks: Any) -> None:
    """Refuses what is no sequence of callbacks; raises MirageError."""
    if not isinstance(callbacks, Sequence):
        raise MirageError(
            f"callbacks={callbacks!r:.100} is a {name_of(callbacks)}; expected a list of objects of subclasses of "
            "pipeline.Callback."
        )
    for callback in callbacks:
        name = name_of(callback)
        if not isinstance(callback, Callback):
            raise MirageError(f"callbacks: {name} is no callback; expected objects of subclasses of pipeline.Callback.")
        every, at = callback.every, callback.at
        for value in (every, *at) if isinstance(at, Sequence) else (None,):
            if type(value) is not int or value < 0:
                raise MirageError(
                    f"callbacks: {name} has every={every!r} and at={at!r}; expected a number of steps, an int, and a "
                    "list of such."
                )


def name_of(callback: object) -> str:
    """Returns what a callback is called in messages."""
    return callback.__name__ if isinstance(callback, type) else type(callback).__name__
