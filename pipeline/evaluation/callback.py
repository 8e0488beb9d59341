"""The callback that scores the generator while it trains, keeps the best one and warns of a collapse."""

import time
from collections.abc import Iterable
from typing import Any

from pipeline.devices.out_of_memory import out_of_memory
from pipeline.evaluation.collapse import CollapseWatch
from pipeline.evaluation.options import EvaluationOptions
from pipeline.evaluation.scoring import Evaluation
from pipeline.runs.callback import Callback, Training
from pipeline.runs.place import writing


class Evaluations(Callback):
    """Scores the generator at intervals, and after the last step."""

    def __init__(self, options: EvaluationOptions, metrics: Iterable[Any] = ()) -> None:
        """Takes how often, which may be 0, and metrics that are measured instead of those of `options`."""
        self.every = options.eval_every
        self._options = options
        self._metrics = tuple(metrics)
        self._collapse = CollapseWatch()

    def on_prepare(self, training: Training) -> None:
        """See `Callback`."""
        if self.every:
            # It may train its classifier first, or find that it has nothing to judge by, which is no part of the
            # training.
            with out_of_memory("preparing evaluations"):
                config = training.config
                self._evaluation = Evaluation(
                    self._options, config, config.seed, training.dataset, training.generator, self._metrics
                )

    def on_interval(self, training: Training) -> None:
        """See `Callback`."""
        start = time.perf_counter()
        with out_of_memory(f"evaluating step {training.step:,}"):
            scores = training.breakable(self._evaluation)
        if scores is None:
            return
        with writing(training.run_dir):
            training.log.evaluation(scores, time.perf_counter() - start)
        training.scores = scores
        for warning in self._collapse.see(training.step, {**scores, **training.log.latest}):
            training.say(f"warning: {warning}")
        if self._options.keep_best and "frechet_distance" in scores:
            training.keep_if_best(scores["frechet_distance"])
