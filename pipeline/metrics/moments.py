"""Mean and covariance of features: all that a Fréchet distance knows of a set of images."""

import dataclasses
import functools
from collections.abc import Iterable

import numpy as np

_ROWS = 2000  # of features at a time in double precision


@dataclasses.dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of a set of features.

    Attributes:
      mean: float64 [d].
      covariance: float64 [d, d], without bias: divided by count - 1.
      count: how many samples they were taken from; 0 if nobody knows.
    """

    mean: np.ndarray
    covariance: np.ndarray
    count: int

    @classmethod
    def of(cls, features: np.ndarray | Iterable[np.ndarray]) -> "Moments":
        """Takes them from features, in double precision and block by block.

        Args:
          features: float [n, d], n >= 2, or blocks of such, which need not be in memory together.
        """
        blocks = _cut(features) if isinstance(features, np.ndarray) else features
        count, shift, total, squares = 0, np.zeros(0), np.zeros(0), np.zeros(0)
        for block in blocks:
            rows = np.asarray(block, np.float64)
            if not count:  # Deviations from about the mean: sums of squares of the features themselves would cancel.
                shift = rows.mean(axis=0)
                total, squares = np.zeros_like(shift), np.zeros((len(shift), len(shift)))
            rows = rows - shift
            count += len(rows)
            total += rows.sum(axis=0)
            squares += rows.T @ rows
        offset = total / count
        return cls(shift + offset, (squares - count * np.outer(offset, offset)) / (count - 1), count)

    def joined(self, other: "Moments") -> "Moments":
        """Moments of both sets together; their counts must be known."""
        count = self.count + other.count
        apart = other.mean - self.mean
        squares = (self.count - 1) * self.covariance + (other.count - 1) * other.covariance
        squares += np.outer(apart, apart) * (self.count * other.count / count)
        return Moments(self.mean + apart * (other.count / count), squares / (count - 1), count)

    @functools.cached_property
    def spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues of the covariance, float64 [d], none below 0, and eigenvectors, its columns."""
        values, vectors = np.linalg.eigh(self.covariance)
        return np.clip(values, 0, None), vectors

    @functools.cached_property
    def root(self) -> np.ndarray:
        """The covariance's symmetric square root, float64 [d, d]."""
        values, vectors = self.spectrum
        return (vectors * np.sqrt(values)) @ vectors.T


def _cut(features: np.ndarray) -> Iterable[np.ndarray]:
    return (features[start : start + _ROWS] for start in range(0, len(features), _ROWS))
