"""The callback that scores the generator while it trains, keeps the best one and warns of a collapse."""

import time
from collections.abc import Iterable
from typing import Any

from pipeline.devices.out_of_memory import out_of_memory
from pipeline.evaluation.collapse import CollapseWatch
from pipeline.evaluation.options import EvaluationOptions
from pipeline.evaluation.scoring import Evaluation
from pipeline.runs.best import goal_of
from pipeline.runs.callback import Callback, Training
from pipeline.runs.patience import waiting
from pipeline.runs.place import writing
from pipeline.runs.run_log import EVALUATIONS_FILE, read_records


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
                chosen = self._metrics or self._options.metrics
                goal = goal_of(self._options.best_by, chosen) if self._options.compares else None
                self._evaluation = Evaluation(
                    self._options, config, config.seed, training.dataset, training.generator, self._metrics
                )
            self._goal = goal and goal._replace(
                extractor=self._evaluation.extractor, extractor_id=self._evaluation.extractor_id
            )
            records = read_records(training.run_dir / EVALUATIONS_FILE, warn=False)
            self._records: list[dict[str, Any]] = [each for each in records if each["step"] <= training.step]
            if training.resumed:
                self._stop_if_in_vain(training)

    def on_interval(self, training: Training) -> None:
        """See `Callback`."""
        start = time.perf_counter()
        with out_of_memory(f"evaluating step {training.step:,}"):
            scores = training.breakable(self._evaluation)
        if scores is None:
            return
        with writing(training.run_dir):
            seconds = time.perf_counter() - start
            training.log.evaluation(scores, seconds, self._evaluation.judged)
        training.scores = scores
        for warning in self._collapse.see(training.step, {**scores, **training.log.latest}):
            training.say(f"warning: {warning}")
        if self._goal is None:
            return
        if self._goal.figure not in scores:
            training.say(f"warning: there is no {self._goal.figure} to compare by; choose another --best_by.")
            return
        if self._options.keep_best:
            training.keep_if_best(scores[self._goal.figure], self._goal)
        self._records.append({"step": training.step, **self._evaluation.judged, **scores})
        self._stop_if_in_vain(training)

    def _stop_if_in_vain(self, training: Training) -> None:
        """Ends the training if it has run out of patience."""
        if self._goal is not None and self._options.patience:
            found = waiting(self._records, self._goal, self._options.eval_samples)
            if found.evaluations >= self._options.patience:
                training.stop(found.reason(self._goal))
