"""Figures of several sets of samples: their means, and how sure those are."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special

from pipeline.metrics.figures import INTERVAL

_SHARE = 0.95


def combined(
    scores: Sequence[Mapping[str, Any]], limits: Mapping[str, tuple[float, float]] | None = None
) -> dict[str, Any]:
    """Combines the figures of independent sets of samples.

    Args:
      scores: figures by name, numbers or lists of numbers, of each set; two sets or more.
      limits: the least and the largest that figures can be, by name, where intervals end.

    Returns:
      Means by name; and of numbers `NAME_interval`, in which the mean of infinitely many sets lies with 95 %, by
      Student's t distribution; none of what is the same in all sets, such as what real images get, which says nothing
      of how sure it is.
    """
    means: dict[str, Any] = {}
    half = _quantile(len(scores) - 1) / math.sqrt(len(scores))
    for name in scores[0]:
        if name.endswith(INTERVAL) or not all(name in each for each in scores):
            continue  # of a set that it couldn't be measured with there is no mean
        values = np.array([each[name] for each in scores], np.float64)
        means[name] = values.mean(axis=0).tolist()
        if values.ndim == 1 and values.min() < values.max():
            apart = half * float(values.std(ddof=1))
            least, most = (limits or {}).get(name, (-math.inf, math.inf))
            means[name + INTERVAL] = [max(means[name] - apart, least), min(means[name] + apart, most)]
    return means


def _quantile(freedom: int) -> float:
    """Returns t such that Student's t with so many degrees of freedom lies within (-t, t) with 95 %."""
    return float(special.stdtrit(freedom, (1 + _SHARE) / 2))
