"""Watches evaluations for a generator that collapses: warns once for each sign, with the step at which it began."""

import operator
from collections.abc import Mapping

# How many evaluations in a row must show a sign, since single ones scatter.
_PATIENCE = 2
_D_WINS = 0.98


class CollapseWatch:
    """Compares each evaluation with the best so far.

    Signs are: recall below half of its best, class entropy more than a tenth below its best, Fréchet
    distance more than twice its best, and D's accuracy of 98 % or more.
    """

    def __init__(self) -> None:
        """Starts without a history."""
        self._best: dict[str, float] = {}
        self._since: dict[str, int] = {}
        self._run: dict[str, int] = {}
        self._warned: set[str] = set()

    def see(self, step: int, scores: Mapping[str, float]) -> list[str]:
        """Takes the scores of an evaluation.

        Args:
          step: the step that it belongs to.
          scores: `recall`, `class_entropy`, `frechet_distance`, and D's `d_acc_real` and `d_acc_fake` as means
            since the evaluation before; what is missing is not watched.

        Returns:
          Warnings, a sentence each.
        """
        warnings = []
        for name, better, limit in _FALLS:
            if name not in scores:
                continue
            value = scores[name]
            best = self._best.setdefault(name, value)
            if better(value, best):
                self._best[name] = value
            if self._shows(name, step, better(limit(best), value)):
                warnings.append(
                    f"{name.replace('_', ' ')} was {best:.3g} at its best and is {value:.3g}, since step "
                    f"{self._since[name]:,}: the generator may be collapsing; --keep_best keeps the best checkpoint."
                )
        if "d_acc_real" in scores and "d_acc_fake" in scores:
            accuracy = (scores["d_acc_real"] + scores["d_acc_fake"]) / 2
            if self._shows("d_accuracy", step, accuracy >= _D_WINS):
                warnings.append(
                    f"D tells {accuracy:.1%} of images apart since step {self._since['d_accuracy']:,}, so G learns "
                    "little; strengthen the penalties (--gamma, --r1) or augment small data sets."
                )
        return warnings

    def _shows(self, name: str, step: int, sign: bool) -> bool:
        """Whether a sign has lasted long enough to be told now."""
        if not sign:
            self._run[name] = 0
            self._warned.discard(name)
            return False
        if not self._run.get(name):
            self._since[name] = step
        self._run[name] = self._run.get(name, 0) + 1
        if self._run[name] < _PATIENCE or name in self._warned:
            return False
        self._warned.add(name)
        return True


# Name, whether the first argument is better than the second, and from the best value to what counts as fallen.
_FALLS = (
    ("recall", operator.gt, lambda best: 0.5 * best),
    ("class_entropy", operator.gt, lambda best: best - 0.1),
    ("frechet_distance", operator.lt, lambda best: 2 * best),
)
