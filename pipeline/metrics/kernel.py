"""Kernel distance of two sets of features (Bińkowski et al. 2018, arXiv 1801.01401)."""

import dataclasses

import numpy as np

from pipeline.metrics.metric import Evidence, Metric


def kernel_distance(
    a: np.ndarray, b: np.ndarray, *, subsets: int = 50, size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Squared maximum mean discrepancy with the kernel (x.y / d + 1)^3, without bias.

    Args:
      a: features, float [n, d].
      b: features, float [m, d].
      subsets: number of random subsets that are averaged.
      size: samples of each set in a subset; less if a set has fewer.
      seed: of the choice.

    Returns:
      (mean over subsets, standard error of that mean). The mean may be negative; the expectation for
      equal distributions is 0.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    size = min(size, len(a), len(b))
    rng = np.random.default_rng(seed)
    values = [
        _mmd2(a[rng.choice(len(a), size, replace=False)], b[rng.choice(len(b), size, replace=False)])
        for _ in range(subsets)
    ]
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(subsets))


def _mmd2(a: np.ndarray, b: np.ndarray) -> float:
    """The unbiased estimate for two sets of the same size."""
    n, d = a.shape
    within = [((x @ x.T / d + 1) ** 3) for x in (a, b)]
    off_diagonal = sum(k.sum() - np.trace(k) for k in within) / (n * (n - 1))
    return float(off_diagonal - 2 * ((a @ b.T / d + 1) ** 3).mean())


@dataclasses.dataclass(frozen=True)
class KernelDistance(Metric):
    """`kernel_distance` of features of generated images from those of the reference, and its standard error."""

    subsets: int = 50
    size: int = 1000

    figures = ("kernel_distance", "kernel_distance_error")
    needs = ("features",)
    quick = False
    compared = False

    def __call__(self, evidence: Evidence) -> tuple[float, float]:
        """See `Metric`."""
        generated, real = evidence.generated.features, evidence.real.features
        return kernel_distance(generated, real, subsets=self.subsets, size=self.size)
