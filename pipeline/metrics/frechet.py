"""Fréchet distance of two sets of features (Heusel et al. 2017, arXiv 1706.08500)."""

import dataclasses

import numpy as np

from pipeline.metrics.metric import Evidence, Metric, Samples


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Fréchet distance of Gaussians fitted to both sets.

        |mu_a - mu_b|^2 + Tr(C_a + C_b - 2 (C_a C_b)^(1/2))

    Args:
      a: features, float [n, d], n >= 2.
      b: features, float [m, d], m >= 2.

    Returns:
      The distance, at least 0 up to rounding; 0 for equal means and covariances.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    difference = a.mean(axis=0) - b.mean(axis=0)
    c_a, c_b = (np.atleast_2d(np.cov(each, rowvar=False)) for each in (a, b))
    # (C_a C_b)^(1/2) has the trace of (S C_b S)^(1/2) with S = C_a^(1/2), and the latter is symmetric.
    values, vectors = np.linalg.eigh(c_a)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    mixed = np.linalg.eigvalsh(root @ c_b @ root)
    return float(difference @ difference + np.trace(c_a) + np.trace(c_b) - 2 * np.sqrt(np.clip(mixed, 0, None)).sum())


@dataclasses.dataclass(frozen=True)
class FrechetDistance(Metric):
    """`frechet_distance`: of features of generated images from those of the reference."""

    figures = ("frechet_distance",)
    needs = ("features",)
    floors = ("frechet_floor",)

    def __call__(self, evidence: Evidence) -> float:
        """See `Metric`."""
        return frechet_distance(evidence.generated.features, evidence.real.features)

    def floor(self, one: Samples, other: Samples) -> float:
        """The distance of real images from other real ones: what a perfect generator would get."""
        return frechet_distance(one.features, other.features)
