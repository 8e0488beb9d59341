"""Improved precision and recall (Kynkäänniemi et al. 2019, arXiv 1904.06991)."""

import dataclasses

import numpy as np

from pipeline.metrics.metric import Evidence, Metric
from pipeline.metrics.neighbours import squared_distances

_ROWS = 1000  # of a distance matrix at a time


def precision_recall(real: np.ndarray, generated: np.ndarray, k: int = 3) -> tuple[float, float]:
    """Shares of samples that lie in the other set's manifold.

    A set's manifold is the union of balls around its samples, each as large as the distance to the
    sample's k-th nearest neighbour within the set.

    Args:
      real: features, float [n, d], n > k.
      generated: features, float [m, d], m > k.
      k: which neighbour.

    Returns:
      (precision, the share of generated samples within the manifold of the real ones; recall, the share of
      real samples within the manifold of the generated ones), each in [0, 1].
    """
    real, generated = np.asarray(real, np.float32), np.asarray(generated, np.float32)
    return _share_within(generated, real, _radii(real, k)), _share_within(real, generated, _radii(generated, k))


def _radii(points: np.ndarray, k: int) -> np.ndarray:
    """Squared distance of each point to its k-th nearest neighbour, [n]."""
    # A point is its own nearest neighbour, so the k-th other one has index k.
    return np.concatenate(
        [
            np.partition(squared_distances(points[start : start + _ROWS], points), k, axis=1)[:, k]
            for start in range(0, len(points), _ROWS)
        ]
    )


def _share_within(points: np.ndarray, centres: np.ndarray, radii: np.ndarray) -> float:
    inside = [
        (squared_distances(points[start : start + _ROWS], centres) <= radii).any(axis=1)
        for start in range(0, len(points), _ROWS)
    ]
    return float(np.concatenate(inside).mean())


@dataclasses.dataclass(frozen=True)
class PrecisionRecall(Metric):
    """`precision` and `recall` of generated images beside the reference; `k` says which neighbour sets radii."""

    k: int = 3

    figures = ("precision", "recall")
    needs = ("features",)

    def __call__(self, evidence: Evidence) -> tuple[float, float]:
        """See `Metric`."""
        return precision_recall(evidence.real.features, evidence.generated.features, self.k)
