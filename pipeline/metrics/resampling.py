"""Intervals of figures: by a metric's own errors, or by measuring halves."""

import dataclasses
import math
import numbers
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.metrics.choice import Chosen, failure, measured
from pipeline.metrics.figures import INTERVAL
from pipeline.metrics.metric import Evidence, Samples

_NORMAL = 1.960  # of 95 %
_REPEATS = 20
_STUDENT = 2.093  # of 95 %, with as many repeats: their spread is itself uncertain


def intervals(
    chosen: Chosen, figures: Mapping[str, Any], evidence: Evidence, *, resample: bool = True
) -> dict[str, list[float]]:
    """Says how sure a metric's figures are: where their mean over other samples of the same size lies with 95 %.

    Metrics that have `errors`, see `pipeline.metrics.metric.Metric`, are asked. Of others, users' too, the spread over
    20 random halves, drawn without replacement of the generated and of the real images alike, is the standard error of
    the whole (delete-half jackknife, Shao and Wu 1989). That measures 20 times with half of the images: some ten times
    what the metric itself takes.

    Args:
      chosen: the metric.
      figures: what it measured, by name.
      evidence: what it looked at.
      resample: whether halves are measured where there are no `errors`.

    Returns:
      [low, high] of 95 % by the figure's name and `_interval`. None of lists, of what has no error, and of a metric
      that can't measure halves, which is noted on standard error.

    Raises:
      MirageError: if `errors` fails or returns no errors.
    """
    if not figures:
        return {}
    own = getattr(chosen.metric, "errors", None)
    if callable(own):
        return _around(chosen, figures, _told(chosen, list(figures), own, evidence), _NORMAL)
    if not resample:
        return {}

    def again(rng: np.random.Generator) -> dict[str, Any]:
        generated, real = (_half(each, rng) for each in (evidence.generated, evidence.real))
        part = dataclasses.replace(evidence, generated=generated, real=real)
        return measured(chosen, list(figures), chosen.metric, part)

    return _around(chosen, figures, _spread(chosen, figures, again), _STUDENT)


def floor_intervals(
    chosen: Chosen, floors: Mapping[str, Any], one: Samples, other: Samples, *, resample: bool = True
) -> dict[str, list[float]]:
    """The same of its floors; `one` and `other` are what they were measured of."""
    own = getattr(chosen.metric, "floor_errors", None)
    if callable(own):
        return _around(chosen, floors, _told(chosen, list(floors), own, one, other), _NORMAL)
    if not resample:
        return {}

    def again(rng: np.random.Generator) -> dict[str, Any]:
        return measured(chosen, list(floors), chosen.metric.floor, _half(one, rng), _half(other, rng))

    return _around(chosen, floors, _spread(chosen, floors, again), _STUDENT)


def _half(samples: Samples, rng: np.random.Generator) -> Samples:
    return samples.take(np.sort(rng.choice(len(samples), len(samples) // 2, replace=False)))


def _spread(
    chosen: Chosen, figures: Mapping[str, Any], again: Callable[[np.random.Generator], dict[str, Any]]
) -> dict[str, float | None]:
    numbers = [name for name, value in figures.items() if not isinstance(value, list)]
    if not numbers:
        return {}
    try:
        found = [again(np.random.default_rng(repeat)) for repeat in range(_REPEATS)]
    except MirageError as error:
        print(f"note: no interval, since half of the images can't be measured: {error}", file=sys.stderr, flush=True)
        return {}
    spread = {name: float(np.std([each[name] for each in found], ddof=1)) for name in numbers}
    # What a generator draws for itself is the same in every half: that it doesn't spread says nothing.
    return {name: value if value or "generator" not in chosen.needs else None for name, value in spread.items()}


def _told(chosen: Chosen, names: Sequence[str], errors: Callable[..., Any], *given: Any) -> dict[str, float | None]:
    try:
        returned = errors(*given)
        values = [returned] if len(names) == 1 else list(returned)
    except MirageError:
        raise
    except Exception as error:
        raise failure(f"--metrics={chosen.name}", error) from error
    good = [each is None or (isinstance(each, numbers.Real) and 0 <= float(each) < math.inf) for each in values]
    if len(good) != len(names) or not all(good):
        shown = " ".join(repr(returned).split())[:100]
        raise MirageError(
            f"--metrics={chosen.name} returned {shown} as its errors; expected a number, at least 0, or None for each "
            f"of {', '.join(names)}."
        )
    return {name: None if value is None else float(value) for name, value in zip(names, values, strict=True)}


def _around(
    chosen: Chosen, figures: Mapping[str, Any], errors: Mapping[str, float | None], times: float
) -> dict[str, list[float]]:
    limits = getattr(chosen.metric, "limits", {})
    found = {}
    for name, error in errors.items():
        value = figures[name]
        if error is not None and not isinstance(value, list):
            least, most = limits.get(name, (-math.inf, math.inf))
            found[name + INTERVAL] = [max(value - times * error, least), min(value + times * error, most)]
    return found
