"""Kernel distance of two sets of features (Bińkowski et al. 2018, arXiv 1801.01401)."""

import dataclasses

import numpy as np

from pipeline.metrics.metric import Evidence, Metric


@dataclasses.dataclass(frozen=True)
class KernelDistances:
    """Squared maximum mean discrepancies of random subsets of two sets of features.

    Attributes:
      values: one of each subset, float64.
      parts: samples of both sets as a share of a subset's, (n / size, m / size).
      variances: of what a sample adds to a value, in each of the sets.
      size: samples of each set in a subset.
    """

    values: np.ndarray
    parts: tuple[float, float]
    variances: tuple[float, float]
    size: int

    @property
    def mean(self) -> float:
        """The kernel distance; it may be negative, and the expectation for equal distributions is 0."""
        return float(self.values.mean())

    @property
    def error_of_mean(self) -> float:
        """Standard error of the mean over subsets: what other subsets of the same samples would give."""
        return float(self.values.std(ddof=1) / np.sqrt(len(self.values)))

    @property
    def error(self) -> float:
        """Standard error of the distance: how far it strays from samples to others."""
        variance = sum(4 * v / (part * self.size) for v, part in zip(self.variances, self.parts, strict=True))
        return float(np.sqrt(variance + self.error_of_mean**2))


def kernel_distances(
    a: np.ndarray, b: np.ndarray, *, subsets: int = 50, size: int = 1000, seed: int = 0
) -> KernelDistances:
    """Squared maximum mean discrepancies with the kernel (x.y / d + 1)^3, without bias.

    Args:
      a: features, float [n, d].
      b: features, float [m, d].
      subsets: number of random subsets.
      size: samples of each set in a subset; less if a set has fewer.
      seed: of the choice.
    """
    a, b = (each if each.dtype == np.float32 else np.asarray(each, np.float64) for each in (a, b))
    size = min(size, len(a), len(b))
    rng = np.random.default_rng(seed)
    found = [
        _mmd2(a[rng.choice(len(a), size, replace=False)], b[rng.choice(len(b), size, replace=False)])
        for _ in range(subsets)
    ]
    values, of_a, of_b = np.asarray(found).T
    return KernelDistances(values, (len(a) / size, len(b) / size), (float(of_a.mean()), float(of_b.mean())), size)


def kernel_distance(
    a: np.ndarray, b: np.ndarray, *, subsets: int = 50, size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The mean of `kernel_distances`, and the standard error of that mean."""
    found = kernel_distances(a, b, subsets=subsets, size=size, seed=seed)
    return found.mean, found.error_of_mean


def _mmd2(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """The unbiased estimate for two sets of the same size, and the variances of what samples of each add to it."""
    n = len(a)
    across = _kernel(a, b)
    to_b, to_a = across.mean(axis=1, dtype=np.float64), across.mean(axis=0, dtype=np.float64)
    within = []
    for each in (a, b):
        kernel = _kernel(each, each)
        within.append((kernel.sum(axis=1, dtype=np.float64) - np.diagonal(kernel)) / (n - 1))
    value = within[0].mean() + within[1].mean() - 2 * to_b.mean()
    return float(value), float((within[0] - to_b).var()), float((within[1] - to_a).var())


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    products = a @ b.T
    products /= a.shape[1]
    products += 1
    return products * products * products


@dataclasses.dataclass(frozen=True)
class KernelDistance(Metric):
    """`kernel_distance` of features of generated images from those of the reference, and its standard error."""

    subsets: int = 50
    size: int = 1000

    figures = ("kernel_distance", "kernel_distance_error")
    needs = ("features",)
    quick = False
    compared = False
    neutral = ("kernel_distance_error",)

    def __call__(self, evidence: Evidence) -> tuple[float, float]:
        """See `Metric`."""
        found = self._found(evidence)
        return found.mean, found.error_of_mean

    def errors(self, evidence: Evidence) -> tuple[float, None]:
        """See `Metric`."""
        return self._found(evidence).error, None

    def _found(self, evidence: Evidence) -> KernelDistances:
        generated, real = evidence.generated.features, evidence.real.features
        return evidence.once(self, lambda: kernel_distances(generated, real, subsets=self.subsets, size=self.size))
