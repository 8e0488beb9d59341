"""When a training's callbacks are called, and what becomes of their errors."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.base.errors import MirageError
from pipeline.base.failures import reason
from pipeline.runs.callback import Callback, Training, check_callbacks, name_of


def interval_facts(callbacks: Sequence[Callback]) -> dict[str, str]:
    """What workers must have in common of callbacks besides flags, which say how often Mirage's own are called."""
    others = [each for each in callbacks if not _is_own(each)]
    named = [f"{name_of(each)} every {each.every}{f' and at {list(each.at)}' if each.at else ''}" for each in others]
    return {"the list of callbacks": ", ".join(named)} if named else {}


class Callbacks:
    """Calls the callbacks of a training, in their order."""

    def __init__(self, callbacks: Sequence[Callback], training: Training) -> None:
        """Takes the callbacks, which are called where `training.chief` is true; elsewhere only their intervals count.

        Raises:
          MirageError: for what is no callback.
        """
        check_callbacks(callbacks)
        self._all = tuple(callbacks)
        self._called = self._all if training.chief else ()
        self._training = training
        self._sums: list[NDArray[np.float64]] = []
        self._counts = [0] * len(self._called)

    def until_next(self, step: int) -> int | None:
        """Steps from `step` until something is due; None if nothing is.

        It depends on nothing but these, because all workers must make the same calls.
        """
        ahead = [each.every - step % each.every for each in self._all if each.every]
        ahead += [number - step for each in self._all for number in each.at if number > step]
        return min(ahead, default=None)

    def prepare(self) -> None:
        """Calls `on_prepare` of all."""
        for callback in self._called:
            with self._errors_of(callback, "before anything was written", saves=False):
                callback.on_prepare(self._training)

    @contextlib.contextmanager
    def started(self) -> Iterator[None]:
        """Calls `on_start` of all, and in the end `on_end` of those that were started, the last one first."""
        self._sums = [np.zeros(len(self._training.metric_names)) for _ in self._called]
        with contextlib.ExitStack() as stack:
            for callback in self._called:
                stack.push(self._ender(callback))
                with self._errors_of(callback, "before the first step", saves=False):
                    callback.on_start(self._training)
            yield

    def steps_done(self, means: NDArray[np.float32], count: int) -> None:
        """Calls `on_steps` of all, see there."""
        for index, callback in enumerate(self._called):
            self._sums[index] += means * count
            self._counts[index] += count
            with self._errors_of(callback, f"after step {self._training.step:,}"):
                callback.on_steps(self._training, means, count)

    def call_due(self, *, last: bool) -> bool:
        """Calls `on_interval` of those that are due.

        Args:
          last: whether the training ends here, so that all are due.

        Returns:
          Whether that was all; False if a request to stop broke something off.
        """
        training, step = self._training, self._training.step
        training.complete = True
        for index, callback in enumerate(self._called):
            if (callback.every and (last or step % callback.every == 0)) or step in callback.at:
                training.metrics = self._means(index)
                with self._errors_of(callback, f"after step {step:,}"):
                    callback.on_interval(training)
        return training.complete

    def stopped(self) -> None:
        """Saves, and calls `on_stop` of all."""
        self._training.save()
        for callback in self._called:
            with self._errors_of(callback, f"after step {self._training.step:,}", saves=False):
                callback.on_stop(self._training)

    def _means(self, index: int) -> dict[str, float]:
        if not self._counts[index]:
            return {}
        means = self._sums[index] / self._counts[index]
        self._sums[index] = np.zeros_like(means)
        self._counts[index] = 0
        return dict(zip(self._training.metric_names, means.tolist(), strict=True))

    def _ender(self, callback: Callback) -> Callable[..., bool]:
        def end(kind: type[BaseException] | None, *_: object) -> bool:
            try:
                with self._errors_of(callback, "at the end", saves=False):
                    callback.on_end(self._training)
            except MirageError:
                if kind is None:  # otherwise the error under way matters more
                    raise
            return False

        return end

    @contextlib.contextmanager
    def _errors_of(self, callback: Callback, when: str, *, saves: bool = True) -> Iterator[None]:
        """Saves the training where somebody's callback fails, and makes one sentence of what isn't one already."""
        try:
            yield
        except Exception as error:
            if _is_own(callback):
                raise
            saved = False
            if saves:
                with contextlib.suppress(MirageError):  # what has failed first matters more
                    self._training.save()
                    saved = True
            if isinstance(error, MirageError):
                raise
            kept = "the training is saved at that step" if saved else "the last checkpoint is kept, if there is one"
            raise MirageError(
                f"the callback {name_of(callback)} failed {when}: {reason(error)}; {kept}: mend it, then train on."
            ) from error


def _is_own(callback: Callback) -> bool:
    """Whether it is one of Mirage's, whose errors say what they have to say, and are as bad for a save."""
    return type(callback).__module__.startswith("pipeline.")
