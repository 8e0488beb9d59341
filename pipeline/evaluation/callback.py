"""The callback that scores the generator while it trains, keeps the best one and warns of a collapse."""

import time

from pipeline.devices.out_of_memory import out_of_memory
from pipeline.evaluation.collapse import CollapseWatch
from pipeline.evaluation.options import EvaluationOptions
from pipeline.evaluation.scoring import Evaluation
from pipeline.runs.callback import Callback, Training
from pipeline.runs.place import writing


class Evaluations(Callback):
    """Scores the generator at intervals, and after the last step."""

    def __init__(self, options: EvaluationOptions) -> None:
        """Takes `eval_every`, which may be 0, and `keep_best`."""
        self.every = options.eval_every
        self._keep_best = options.keep_best
        self._collapse = CollapseWatch()

    def on_prepare(self, training: Training) -> None:
        """See `Callback`."""
        if self.every:
            # It may train its classifier first, or find that it has nothing to judge by, which is no part of the
            # training.
            with out_of_memory("preparing evaluations"):
                self._evaluation = Evaluation(training.config, training.dataset, training.generator)

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
        if self._keep_best:
            training.keep_if_best(scores["frechet_distance"])
