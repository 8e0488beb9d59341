"""Nearest training images of generated ones: a generator that memorises repeats them."""

import dataclasses

import numpy as np

from pipeline.metrics.metric import Evidence, Metric

_ROWS = 500


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances between rows, [n, m], at least 0.

    Args:
      a: float [n, d].
      b: float [m, d].
    """
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)
    return np.maximum(squares - 2 * (a @ b.T), 0)


def nearest(queries: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds the nearest candidate of each query, pixel by pixel.

    Args:
      queries: uint8 [n, H, W, C].
      candidates: uint8 [m, H, W, C].

    Returns:
      (index of the nearest candidate, int64 [n]; root mean square distance to it in grey levels,
      float64 [n]: 0 for a copy).
    """
    flat = candidates.reshape(len(candidates), -1).astype(np.float32)
    indices, distances = [], []
    for start in range(0, len(queries), _ROWS):
        rows = queries[start : start + _ROWS].reshape(-1, flat.shape[1]).astype(np.float32)
        found = squared_distances(rows, flat).argmin(axis=1)
        # Again for the pairs found, since the expanded square cancels where they are close.
        distances.append(np.sqrt(np.square(rows.astype(np.float64) - flat[found]).mean(axis=1)))
        indices.append(found)
    return np.concatenate(indices), np.concatenate(distances)


@dataclasses.dataclass(frozen=True)
class NearestTrainingImage(Metric):
    """`nearest_training_image`: median distance of up to `queries` generated images, and of as many unseen real ones.

    Real ones are looked for among others: the second of the evidence's halves among the first.
    """

    queries: int = 1000

    figures = ("nearest_training_image", "nearest_training_image_of_real")
    quick = False
    compared = False

    def __call__(self, evidence: Evidence) -> tuple[float, float]:
        """See `Metric`."""
        _, copies = nearest(evidence.generated.pixels[: self.queries], evidence.train.pixels)
        known, unseen = evidence.halves
        _, usual = nearest(unseen.some(self.queries).pixels, known.pixels)
        return float(np.median(copies)), float(np.median(usual))
