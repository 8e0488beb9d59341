"""Fréchet distance of two sets of features (Heusel et al. 2017, arXiv 1706.08500)."""

import dataclasses

import numpy as np

from pipeline.metrics.metric import Evidence, Metric, Samples
from pipeline.metrics.moments import Moments


def frechet_distance(a: np.ndarray | Moments, b: np.ndarray | Moments) -> float:
    """Squared Fréchet distance of Gaussians fitted to both sets.

        |mu_a - mu_b|^2 + Tr(C_a + C_b - 2 (C_a C_b)^(1/2))

    Args:
      a: features, float [n, d], n >= 2, or their moments.
      b: features, float [m, d], m >= 2, or their moments.

    Returns:
      The distance, at least 0 up to rounding; 0 for equal means and covariances.
    """
    a, b = (each if isinstance(each, Moments) else Moments.of(np.asarray(each)) for each in (a, b))
    difference = a.mean - b.mean
    # (C_a C_b)^(1/2) has the trace of (S C_a S)^(1/2) with S = C_b^(1/2), and the latter is symmetric.
    mixed = np.linalg.eigvalsh(b.root @ a.covariance @ b.root)
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    return float(difference @ difference + traces - 2 * np.sqrt(np.clip(mixed, 0, None)).sum())


@dataclasses.dataclass(frozen=True)
class FrechetDistance(Metric):
    """`frechet_distance`: of features of generated images from those of the reference."""

    figures = ("frechet_distance",)
    needs = ("moments",)
    floors = ("frechet_floor",)

    def __call__(self, evidence: Evidence) -> float:
        """See `Metric`."""
        return frechet_distance(evidence.generated.moments, evidence.real.moments)

    def floor(self, one: Samples, other: Samples) -> float:
        """The distance of real images from other real ones: what a perfect generator would get."""
        return frechet_distance(one.moments, other.moments)
