"""Nearest training images of generated ones: a generator that memorises repeats them."""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from pipeline.metrics.metric import Evidence, Metric

_BLOCK = 1 << 22  # numbers of float32 at a time: 16 MiB
_MORE = 6  # neighbours besides those asked for: they come close in single precision and are told apart in double
_SOME = 8  # each eighth of many values bounds which are looked at
_GAP = 2  # between pictures of a sheet


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances between rows, [n, m], at least 0.

    Args:
      a: float [n, d].
      b: float [m, d].
    """
    distances = (-2 * a) @ b.T
    distances += np.vecdot(a, a)[:, None]
    distances += np.vecdot(b, b)
    return np.maximum(distances, 0, out=distances)


def smallest(values: np.ndarray, count: int) -> np.ndarray:
    """Finds the smallest values of each row.

    Args:
      values: float [n, m].
      count: how many; all where there are fewer.

    Returns:
      Their columns, in any order; of equal values the first ones: int32 [n, min(count, m)].
    """
    columns = values.shape[1]
    if count >= columns:
        return np.broadcast_to(np.arange(columns, dtype=np.int32), values.shape)
    if columns < 4 * _SOME * count:
        return _chosen(values, count)
    # Looked at are only those that come up to what an eighth of them is bounded by.
    bound = np.partition(values[:, ::_SOME], count - 1, axis=1)[:, count - 1, None]
    near, numbers = _up_to(values, bound)
    beside = np.arange(near.shape[1]) >= numbers[:, None]
    bounded = np.where(beside, np.inf, np.take_along_axis(values, near, axis=1))
    return np.take_along_axis(near, _chosen(bounded, count), axis=1)


def nearest_of_all(queries: np.ndarray, candidates: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds the nearest candidates of each query, in memory that is bounded however many candidates there are.

    Args:
      queries: numbers of any type, [n, ...].
      candidates: of the same form, [m, ...]; it is read in slices, so that it may lie in a file.
      k: how many, at most m.

    Returns:
      (indices of the nearest candidates, nearest first, int64 [n, k]; root mean square distances to them, float64
      [n, k]: 0 for copies).
    """
    found = [_nearest(rows, candidates, k) for rows in _blocks(queries)]
    return np.concatenate([each[0] for each in found]), np.concatenate([each[1] for each in found])


def nearest(queries: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds the nearest candidate of each query, pixel by pixel.

    Args:
      queries: uint8 [n, H, W, C].
      candidates: uint8 [m, H, W, C].

    Returns:
      (index of the nearest candidate, int64 [n]; root mean square distance to it in grey levels,
      float64 [n]: 0 for a copy).
    """
    indices, distances = nearest_of_all(queries, candidates, 1)
    return indices[:, 0], distances[:, 0]


def sheet(
    generated: np.ndarray,
    train: np.ndarray,
    k: int = 10,
    features: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Draws each generated image and its nearest training images in a row, nearest first.

    Args:
      generated: uint8 [n, H, W, C], n >= 1; each gives a row, so that some ten are enough to look at.
      train: uint8 [m, H, W, C], m >= 1, of the same shape; it is read in slices, so that it may lie in a file.
      k: how many training images; fewer where there are fewer.
      features: of generated and of training images, float [n, d] and [m, d]: nearest by those; without them, nearest
        pixel by pixel.

    Returns:
      A picture, uint8 [n (H + 2) + 2, (k + 1)(W + 2) + 6, C], on a white ground. A wider gap sets the generated images
      apart, which stand first.
    """
    queries, candidates = (generated, train) if features is None else features
    k = min(k, len(candidates))
    indices, _ = nearest_of_all(queries, candidates, k)
    count, height, width, channels = generated.shape
    across, down = width + _GAP, height + _GAP
    picture = np.full((count * down + _GAP, (k + 1) * across + 3 * _GAP, channels), 255, np.uint8)
    for row, image in enumerate(generated):
        top = _GAP + row * down
        for column, shown in enumerate((image, *(train[index] for index in indices[row]))):
            left = _GAP + column * across + 2 * _GAP * (column > 0)
            picture[top : top + height, left : left + width] = shown
    return picture


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    rows = max(1, _BLOCK // max(1, int(np.prod(array.shape[1:]))))
    return (array[start : start + rows] for start in range(0, len(array), rows))


def _nearest(queries: np.ndarray, candidates: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    flat = np.asarray(queries).reshape(len(queries), -1)
    rows = flat.astype(np.float32)
    keep = min(k + _MORE, len(candidates))
    indices, distances = np.empty((len(rows), 0), np.int64), np.empty((len(rows), 0), np.float32)
    start = 0
    for block in _blocks(candidates):
        at_once = max(1, _BLOCK // max(1, len(rows)))
        columns = np.asarray(block).reshape(len(block), -1).astype(np.float32)
        for first in range(0, len(columns), at_once):
            these = squared_distances(rows, columns[first : first + at_once])
            best = smallest(these, keep)
            indices = np.concatenate([indices, best + start + first], axis=1)
            distances = np.concatenate([distances, np.take_along_axis(these, best, axis=1)], axis=1)
            best = smallest(distances, keep)
            indices = np.take_along_axis(indices, best, axis=1)
            distances = np.take_along_axis(distances, best, axis=1)
        start += len(block)
    # Again for the pairs found, since the expanded square cancels where they are close.
    exact = np.stack([_root_mean_square(row, candidates, found) for row, found in zip(flat, indices, strict=True)])
    order = np.lexsort((indices, exact))[:, :k]
    return np.take_along_axis(indices, order, axis=1), np.take_along_axis(exact, order, axis=1)


def _chosen(values: np.ndarray, count: int) -> np.ndarray:
    # By value and not by argpartition, which takes twenty times as long.
    indices, numbers = _up_to(values, np.partition(values, count - 1, axis=1)[:, count - 1, None])
    ties = numbers != count
    if ties.any():
        indices[ties, :count] = np.argsort(values[ties], axis=1, kind="stable")[:, :count]
    return indices[:, :count]


def _up_to(values: np.ndarray, bound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of each row's values up to its bound, int32 [n, as many as one has, the rest any]; and how many, [n]."""
    # Not `<=`: where squares of features are infinite, distances are no numbers, and rows would be left without any.
    row, column = np.divmod(np.flatnonzero(~(values > bound)), values.shape[1])
    first = np.searchsorted(row, np.arange(len(values)))
    numbers = np.diff(first, append=len(row))
    places = np.minimum(first[:, None] + np.arange(numbers.max()), len(column) - 1)
    return column[places].astype(np.int32), numbers


def _root_mean_square(row: np.ndarray, candidates: np.ndarray, indices: np.ndarray) -> np.ndarray:
    pairs = np.stack([np.asarray(candidates[index]).reshape(-1) for index in indices]).astype(np.float64)
    return np.sqrt(np.square(pairs - row).mean(axis=1))


@dataclasses.dataclass(frozen=True)
class NearestTrainingImage(Metric):
    """`nearest_training_image`: median distance of up to `queries` generated images, and of as many unseen real ones.

    Real ones are looked for among others: the second of the evidence's halves among the first.
    """

    queries: int = 1000

    figures = ("nearest_training_image", "nearest_training_image_of_real")
    quick = False
    compared = False
    neutral = figures
    limits: ClassVar = dict.fromkeys(figures, (0.0, np.inf))

    def __call__(self, evidence: Evidence) -> tuple[float, float]:
        """See `Metric`."""
        copies, usual = self._found(evidence)
        return float(np.median(copies)), float(np.median(usual))

    def errors(self, evidence: Evidence) -> tuple[float, float]:
        """See `Metric`."""
        copies, usual = self._found(evidence)
        return _error_of_median(copies), _error_of_median(usual)

    def _found(self, evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
        def find() -> tuple[np.ndarray, np.ndarray]:
            chosen = evidence.generated.take(np.arange(min(self.queries, len(evidence.generated))))
            _, copies = nearest(chosen.pixels, evidence.train.pixels)
            known, unseen = evidence.halves
            _, usual = nearest(unseen.some(self.queries).pixels, known.pixels)
            return copies, usual

        return evidence.once(self, find)


def _error_of_median(values: np.ndarray) -> float:
    """By the samples between which the median of others lies in 95 % of all cases."""
    count = len(values)
    low, high = (np.quantile(values, np.clip(0.5 + side * 0.98 / np.sqrt(count), 0, 1)) for side in (-1, 1))
    return float((high - low) / (2 * 1.96))
