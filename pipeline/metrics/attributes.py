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
        raise TooFewError("it is measured of pictures that all have an attribute, or all lack it")
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
        raise TooFewError("it is measured of pictures of which an attribute is always the same")
    if not x.any():
        return 0.0, 0.0
    x, y = x / x.std(), y / y.std()
    figure = float(np.clip((x * y).mean(), -1, 1))
    return figure, float((x * y - figure * (x**2 + y**2) / 2).std() / np.sqrt(len(x)))


_BY_KIND: dict[str, Callable[[np.ndarray, np.ndarray], _Found]] = {BINARY: balanced_accuracy, NUMBER: correlation}


def _found(evidence: Evidence, kinds: tuple[str, ...]) -> dict[str, tuple[_Found, _Found] | TooFewError]:
    """Figures of attributes of some kinds, by name: of generated images, and of real ones that nothing was learnt from.

    Of one that can't be measured there is what says so.
    """
    naming = evidence.naming
    assert naming is not None

    def of_generated() -> np.ndarray:
        return np.concatenate([naming(block) for block in evidence.generated.batches()])

    pairs = (evidence.once("attributes", of_generated), evidence.generated.labels), (naming.named, naming.labels)
    found: dict[str, tuple[_Found, _Found] | TooFewError] = {}
    for place, each in enumerate(naming.attributes):
        if each.kind in kinds:
            measure = _BY_KIND[each.kind]
            try:
                one, other = (measure(named[:, place], labels[:, place]) for named, labels in pairs)
                found[each.name] = one, other
            except TooFewError as error:
                found[each.name] = TooFewError(f"{error}: {each.name}")
    return found


class _Mean(Metric):
    """The mean over the attributes of a kind that can be measured, and what real images get."""

    kinds: ClassVar[tuple[str, ...]]

    def __call__(self, evidence: Evidence) -> tuple[float, float]:
        """See `Metric`."""
        return self._means(evidence, 0)

    def errors(self, evidence: Evidence) -> tuple[float, float]:
        """See `Metric`; as if attributes went wrong together, since they are of the same images."""
        return self._means(evidence, 1)

    def _means(self, evidence: Evidence, place: int) -> tuple[float, float]:
        found = _found(evidence, self.kinds)
        measured = [each for each in found.values() if not isinstance(each, TooFewError)]
        if not measured:
            raise next(each for each in found.values() if isinstance(each, TooFewError))
        of_generated, of_real = np.mean(measured, axis=0)[:, place].tolist()
        return of_generated, of_real


@dataclasses.dataclass(frozen=True)
class AttributeAccuracy(_Mean):
    """`attribute_accuracy`: balanced accuracy with which a classifier sees the attributes that were asked for.

    That is the mean over attributes that are 0 or 1, and of which there are both among the pictures. The classifier has
    learnt them from the training images; its balanced accuracy on real images that it has not seen is
    `attribute_accuracy_of_real`.
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
        found = []
        for each in _found(evidence, (BINARY, NUMBER)).values():
            if isinstance(each, TooFewError):
                raise each
            found.append(each)
        of_generated, of_real = ([round(each[side][0], 4) for each in found] for side in (0, 1))
        return of_generated, of_real
