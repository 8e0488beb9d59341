"""Fréchet distance within classes (Miyato and Koyama 2018, arXiv 1802.05637, "intra-FID")."""

import dataclasses

import numpy as np

from pipeline.metrics.metric import Evidence, Metric, Samples, TooFewError

_FEWEST = 2  # of which a covariance can be taken


def small_distance(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Fréchet distance of sets that may have fewer samples than features, by products of samples.

    With X_a and X_b the samples less their means and X_a X_b^T = U D V^T, the trace of (C_a C_b)^(1/2) is that of D
    over ((n - 1)(m - 1))^(1/2), and the optimal map's quadratic form of a sample is what stands on the diagonals of
    U D U^T and V D V^T. See `pipeline.metrics.frechet.Transport` for the error.

    Args:
      a: features, float [n, d], n >= 2.
      b: features, float [m, d], m >= 2.

    Returns:
      (the distance, its standard error).
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    difference = a.mean(axis=0) - b.mean(axis=0)
    apart = [each - each.mean(axis=0) for each in (a, b)]
    degrees = [len(each) - 1 for each in apart]
    products = apart[0] @ apart[1].T
    # By eigenvalues of the products' squares, which is several times as fast as singular values.
    squares_of_d, v = np.linalg.eigh(products.T @ products)
    there = squares_of_d > squares_of_d[-1] * max(len(a), len(b)) * np.finfo(np.float64).eps
    singular, v = np.sqrt(squares_of_d[there]), v[:, there]
    u = products @ v / singular
    distance, variance = difference @ difference - 2 * singular.sum() / np.sqrt(degrees[0] * degrees[1]), 0.0
    for each, free, other, vectors, sign in zip(apart, degrees, degrees[::-1], (u, v), (1, -1), strict=True):
        squares = np.vecdot(each, each)
        distance += squares.sum() / free
        # x^T T x, where T is scaled by both counts.
        mapped = np.vecdot(vectors * singular, vectors) * np.sqrt(free / other)
        added = 2 * sign * each @ difference + squares - mapped
        variance += added.var(ddof=1) / len(each)
    return float(distance), float(np.sqrt(variance))


def intra_class_distance(a: Samples, b: Samples, per_class: int) -> tuple[float, float, int]:
    """Mean over classes of the Fréchet distance of both sets' samples of a class.

    Args:
      a: samples with labels.
      b: others.
      per_class: samples of a class to look at, at most, and of both sets as many; more take much longer.

    Returns:
      (the mean over classes of which both sets have two samples, its standard error, number of other classes).

    Raises:
      TooFewError: if there is no such class.
    """
    classes = np.union1d(a.labels, b.labels)
    found = []
    for label in classes:
        members = [np.flatnonzero(each.labels == label) for each in (a, b)]
        count = min(per_class, *map(len, members))  # of both, since distances depend on either number
        if count >= _FEWEST:
            found.append(small_distance(a.features[members[0][:count]], b.features[members[1][:count]]))
    if not found:
        raise TooFewError(f"it needs {_FEWEST} or more images of a class on both sides, and no class has them")
    distances, errors = np.asarray(found).T
    return float(distances.mean()), float(np.sqrt(np.square(errors).sum()) / len(found)), len(classes) - len(found)


@dataclasses.dataclass(frozen=True)
class IntraClassDistance(Metric):
    """`intra_class_distance`: mean over classes of the Fréchet distance within a class; of real images, `_of_real`.

    It sees what the distance of all together can't: variety that is missing within classes, and images of one class
    among another's. Of each class up to `per_class` samples are looked at. Few samples make it large, of real images
    too, which therefore stand beside it: the second of the evidence's halves against the first. Classes of which one
    side has fewer than two samples can't be measured; `intra_class_left_out` says how many those are.
    """

    per_class: int = 500

    figures = ("intra_class_distance", "intra_class_distance_of_real", "intra_class_left_out")
    needs = ("features", "labels")
    quick = False
    compared = False
    neutral = figures[1:]

    def __call__(self, evidence: Evidence) -> tuple[float, float, int]:
        """See `Metric`."""
        (distance, _, left_out), (of_real, _, _) = self._found(evidence)
        return distance, of_real, left_out

    def errors(self, evidence: Evidence) -> tuple[float, float, None]:
        """See `Metric`."""
        (_, error, _), (_, of_real, _) = self._found(evidence)
        return error, of_real, None

    def _found(self, evidence: Evidence) -> tuple[tuple[float, float, int], tuple[float, float, int]]:
        def find() -> tuple[tuple[float, float, int], tuple[float, float, int]]:
            known, unseen = evidence.known_and_unseen
            return (
                intra_class_distance(evidence.generated, evidence.real, self.per_class),
                intra_class_distance(known, unseen, self.per_class),
            )

        return evidence.once(self, find)
