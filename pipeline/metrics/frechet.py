"""Fréchet distance of two sets of features (Heusel et al. 2017, arXiv 1706.08500), and how sure it is."""

import dataclasses
import functools
from typing import ClassVar

import numpy as np

from pipeline.metrics.metric import Evidence, Metric, Samples
from pipeline.metrics.moments import Moments

_ROWS = 1000  # of features at a time
_LOOKED_AT = 5000  # of each set's features, to know their spread


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
    return _distance(difference, a, b, mixed)


def frechet_distance_of_few(a: np.ndarray, b: np.ndarray) -> float:
    """The same distance, of fewer samples than features: in a hundredth of the time.

    With C_a = A^T A and C_b = B^T B, (C_a C_b)^(1/2) has the trace of ((A B^T)(A B^T)^T)^(1/2): the sum of the singular
    values of A B^T, which is no larger than the sets.

    Args:
      a: features, float [n, d], n >= 2.
      b: features, float [m, d], m >= 2.

    Returns:
      The distance, at least 0 up to rounding.
    """
    means = [np.mean(each, axis=0, dtype=np.float64) for each in (a, b)]
    roots = [(each - mean) / np.sqrt(len(each) - 1) for each, mean in zip((a, b), means, strict=True)]
    traces = sum(np.square(root).sum() for root in roots)
    mixed = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    return float(np.square(means[0] - means[1]).sum() + traces - 2 * mixed)


def _distance(difference: np.ndarray, a: Moments, b: Moments, mixed: np.ndarray) -> float:
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    return float(difference @ difference + traces - 2 * np.sqrt(np.clip(mixed, 0, None)).sum())


class Transport:
    """The optimal map between the Gaussians of two sets: what their distance, and its error, are made of.

    With S = C_b^(1/2) and S C_a S = V L V^T, the map from a to b is S V L^(-1/2) V^T S, and the one from b to a is
    S^(-1) V L^(1/2) V^T S^(-1), where what has no inverse is left out.
    """

    def __init__(self, a: Moments, b: Moments) -> None:
        """Takes the moments of both."""
        self.a, self.b = a, b
        self._difference = a.mean - b.mean
        values, self._vectors = np.linalg.eigh(b.root @ a.covariance @ b.root)
        self._values = np.clip(values, 0, None)

    @functools.cached_property
    def distance(self) -> float:
        """See `frechet_distance`."""
        return _distance(self._difference, self.a, self.b, self._values)

    def error(self, a: np.ndarray | None, b: np.ndarray | None) -> float:
        """Standard error of the distance, by the delta method: the variance of what each sample adds to it.

        A sample x of a adds 2 (mu_a - mu_b).(x - mu_a) + |x - mu_a|^2 - (x - mu_a)^T T (x - mu_a), less its mean, with
        T the map from a to b; one of b, the same the other way round. Where both distributions are the same, where this
        is of second order, it is up to 1.8 times too large. What the distance of few samples is too large by, it does
        not tell; see `pipeline.metrics.frechet_infinity`.

        Args:
          a: features, float [n, d], of which the first few thousand are looked at; None where only moments are known:
            then as if they were of a Gaussian.
          b: the same of b.
        """
        return float(np.sqrt(self._variance_of_a(a) + self._variance_of_b(b)))

    def _variance_of_a(self, features: np.ndarray | None) -> float:
        if not self.a.count:
            return 0.0  # exact, as far as anybody knows
        if features is None:
            return Transport(self.b, self.a)._variance_of_b(None)
        powers = _powers(self._values, -0.25)
        return self._variance(features, self.a, self._difference, (powers * self._vectors).T @ self.b.root)

    def _variance_of_b(self, features: np.ndarray | None) -> float:
        if not self.b.count:
            return 0.0
        if features is None:
            return self._gaussian_variance_of_b() / self.b.count
        values, vectors = self.b.spectrum
        inverse = (vectors * _powers(values, -0.5)) @ vectors.T
        half = (np.sqrt(np.sqrt(self._values)) * self._vectors).T @ inverse
        return self._variance(features, self.b, -self._difference, half)

    def _variance(self, features: np.ndarray, of: Moments, difference: np.ndarray, half: np.ndarray) -> float:
        """Variance by what samples add; `half` is H of the map H^T H."""
        added = []
        looked_at = features[:_LOOKED_AT]
        for start in range(0, len(looked_at), _ROWS):
            apart = looked_at[start : start + _ROWS] - of.mean
            mapped = apart @ half.T
            added.append(2 * apart @ difference + np.vecdot(apart, apart) - np.vecdot(mapped, mapped))
        return float(np.concatenate(added).var(ddof=1) / of.count)

    def _gaussian_variance_of_b(self) -> float:
        # 4 d^T C d + 2 Tr(((1 - T) C)^2) with C = C_b and T C = S^(-1) M^(1/2) S, M = S C_a S.
        mean = 4 * self._difference @ self.b.covariance @ self._difference
        mapped = np.vecdot(self._vectors.T, self._vectors.T @ self.b.covariance)  # v^T C v of each eigenvector
        crossed = np.sqrt(self._values) @ mapped
        squares = np.square(self.b.covariance).sum() - 2 * crossed + self._values.sum()
        return float(mean + 2 * max(squares, 0.0))


def _powers(values: np.ndarray, exponent: float) -> np.ndarray:
    """Negative powers of eigenvalues, 0 of those that are 0 but for rounding."""
    there = values > values.max(initial=0) * len(values) * np.finfo(np.float64).eps
    return np.where(there, np.where(there, values, 1) ** exponent, 0)


def transport(evidence: Evidence) -> Transport:
    """The map from generated features to the reference's: made once for all metrics that look at it."""
    return evidence.once("transport", lambda: Transport(evidence.generated.moments, evidence.real.moments))


def error_of(evidence: Evidence) -> float:
    """Standard error of the Fréchet distance."""
    generated, real = (each.features if each.has_features else None for each in (evidence.generated, evidence.real))
    return evidence.once("transport error", lambda: transport(evidence).error(generated, real))


def _between(one: Samples, other: Samples) -> Transport:
    """The map between real images' features: made once for a floor and its error."""
    return one.once(("transport", other), lambda: Transport(one.moments, other.moments))


@dataclasses.dataclass(frozen=True)
class FrechetDistance(Metric):
    """`frechet_distance`: of features of generated images from those of the reference."""

    figures = ("frechet_distance",)
    needs = ("moments",)
    floors = ("frechet_floor",)
    limits: ClassVar = dict.fromkeys((*figures, *floors), (0.0, np.inf))

    def __call__(self, evidence: Evidence) -> float:
        """See `Metric`."""
        return transport(evidence).distance

    def errors(self, evidence: Evidence) -> float:
        """See `Metric`."""
        return error_of(evidence)

    def floor(self, one: Samples, other: Samples) -> float:
        """The distance of real images from other real ones: what a perfect generator would get."""
        return _between(one, other).distance

    def floor_errors(self, one: Samples, other: Samples) -> float:
        """See `Metric`."""
        features = (each.features if each.has_features else None for each in (one, other))
        return _between(one, other).error(*features)
