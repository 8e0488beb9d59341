"""Whether a generator makes pictures of the attributes that it is asked for."""

import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from pipeline.metrics.metric import Evidence, Metric, TooFewError
from pipeline.metrics.shares import error_of_share
from serving.contract.attributes import BINARY, NUMBER

# A figure, and its standard error.
_Found = tuple[float, float]


def balanced_accuracy(logits: np.ndarray, labels: np.ndarray) -> _Found:
    """Mean of the shares that are named right of what has an attribute and of what hasn't: 1/2 by guessing.

    Args:
      logits: float [n], positive where the attribute is seen.
      labels: [n], 1 or 0.

    Returns:
      (the figure, its standard error).

    Raises:
      TooFewError: if there are none with it, or none without.
    """
    right = [(logits[labels == value] > 0) == bool(value) for value in (0, 1)]
    if not all(map(len, right)):
        raise TooFewError("there is an attribute that all pictures that it is measured of have, or none of them")
    error = math.hypot(*[error_of_share(each) for each in right]) / 2
    return float(np.mean([each.mean() for each in right])), error


def correlation(values: np.ndarray, labels: np.ndarray) -> _Found:
    """Pearson's correlation: 1 where what is seen grows as what was asked for does; 0 of what is always the same.

    Args:
      values: float [n], what is seen, on any scale.
      labels: float [n], what was asked for.

    Returns:
      (the figure, its standard error by its influence function).

    Raises:
      TooFewError: if what was asked for is always the same.
    """
    x, y = (np.asarray(each, np.float64) - np.mean(each, dtype=np.float64) for each in (values, labels))
    if not y.any():
        raise TooFewError("there is an attribute that is the same in all pictures that it is measured of")
    if not x.any():
        return 0.0, 0.0
    x, y = x / x.std(), y / y.std()
    figure = float(np.clip((x * y).mean(), -1, 1))
    return figure, float((x * y - figure * (x**2 + y**2) / 2).std() / np.sqrt(len(x)))


_BY_KIND: dict[str, Callable[[np.ndarray, np.ndarray], _Found]] = {BINARY: balanced_accuracy, NUMBER: correlation}


def _found(evidence: Evidence, kinds: tuple[str, ...]) -> tuple[list[_Found], list[_Found]]:
    """Figures of each attribute of some kinds: of generated images, and of real ones that nothing was learnt from."""
    naming = evidence.naming
    assert naming is not None

    def of_generated() -> np.ndarray:
        return np.concatenate([naming(block) for block in evidence.generated.batches()])

    pairs = (evidence.once("attributes", of_generated), evidence.generated.labels), (naming.named, naming.labels)
    of_both = [
        [
            _BY_KIND[each.kind](named[:, place], labels[:, place])
            for place, each in enumerate(naming.attributes)
            if each.kind in kinds
        ]
        for named, labels in pairs
    ]
    return of_both[0], of_both[1]


class _Mean(Metric):
    """The mean over attributes of a kind, and what real images get."""

    kinds: ClassVar[tuple[str, ...]]

    def __call__(self, evidence: Evidence) -> tuple[float, float]:
        """See `Metric`."""
        of_generated, of_real = self._means(evidence)
        return of_generated[0], of_real[0]

    def errors(self, evidence: Evidence) -> tuple[float, float]:
        """See `Metric`; as if attributes went wrong together, since they are of the same images."""
        of_generated, of_real = self._means(evidence)
        return of_generated[1], of_real[1]

    def _means(self, evidence: Evidence) -> list[list[float]]:
        return [np.mean(found, axis=0).tolist() for found in _found(evidence, self.kinds)]


@dataclasses.dataclass(frozen=True)
class AttributeAccuracy(_Mean):
    """`attribute_accuracy`: balanced accuracy with which a classifier sees the attributes that were asked for.

    That is the mean over attributes that are 0 or 1. The classifier has learnt them from the training images; its
    balanced accuracy on real images that it has not seen is `attribute_accuracy_of_real`.
    """

    kinds = (BINARY,)
    figures = ("attribute_accuracy", "attribute_accuracy_of_real")
    needs = ("yes_or_no",)
    higher_is_better = figures[:1]
    neutral = figures[1:]
    limits: ClassVar = dict.fromkeys(figures, (0.0, 1.0))


@dataclasses.dataclass(frozen=True)
class AttributeCorrelation(_Mean):
    """`attribute_correlation`: correlation of the numbers that were asked for with those that a classifier sees.

    That is the mean over attributes that are numbers; `attribute_correlation_of_real` is that of real images, as with
    `AttributeAccuracy`.
    """

    kinds = (NUMBER,)
    figures = ("attribute_correlation", "attribute_correlation_of_real")
    needs = ("numbers",)
    higher_is_better = figures[:1]
    neutral = figures[1:]
    limits: ClassVar = dict.fromkeys(figures, (-1.0, 1.0))


@dataclasses.dataclass(frozen=True)
class ByAttribute(Metric):
    """`by_attribute`: of each attribute in order its balanced accuracy or correlation; of real images, `_of_real`."""

    figures = ("by_attribute", "by_attribute_of_real")
    needs = ("attributes",)
    quick = False
    compared = False
    neutral = figures

    def __call__(self, evidence: Evidence) -> tuple[list[float], list[float]]:
        """See `Metric`."""
        of_generated, of_real = (
            [round(figure, 4) for figure, _ in found] for found in _found(evidence, (BINARY, NUMBER))
        )
        return of_generated, of_real
