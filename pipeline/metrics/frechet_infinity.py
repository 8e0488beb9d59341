"""Fréchet distance of infinitely many samples (Chong and Forsyth 2020, arXiv 1911.07023)."""

import dataclasses

import numpy as np

from pipeline.metrics.frechet import error_of, frechet_distance, transport
from pipeline.metrics.metric import Evidence, Metric, TooFewError
from pipeline.metrics.moments import Moments


def distance_infinity(features: np.ndarray, reference: Moments, distance: float | None = None, seed: int = 0) -> float:
    """Extrapolates the Fréchet distance over sample counts, 1/n -> 0.

    The distance of n samples is too large by about c/n, where c depends on the generator, so that generators may even
    change places. The paper draws a line through distances at 15 counts. Ours goes through two, all of the samples and
    the mean of two disjoint halves: more even halves the noise, and small counts, where the distance is no line in 1/n,
    would bend it. Like the paper's, it leaves what the reference's own count adds.

    Args:
      features: of generated images, float [n, d]; n should be several times d, or some of the bias remains.
      reference: moments of the reference.
      distance: the Fréchet distance of all of them, where that is known.
      seed: of the choice of halves.

    Returns:
      The distance extrapolated; without bias, so that it may be a little below 0.
    """
    order = np.random.default_rng(seed).permutation(len(features))
    halves = [frechet_distance(Moments.of(features[np.sort(half)]), reference) for half in np.array_split(order, 2)]
    whole = frechet_distance(features, reference) if distance is None else distance
    return 2 * whole - float(np.mean(halves))


@dataclasses.dataclass(frozen=True)
class FrechetDistanceInfinity(Metric):
    """`frechet_distance_infinity`: what the Fréchet distance would be with infinitely many generated images."""

    figures = ("frechet_distance_infinity",)
    needs = ("features",)
    quick = False
    compared = False

    def __call__(self, evidence: Evidence) -> float:
        """See `Metric`."""
        generated = evidence.generated.features
        count, size = generated.shape
        if count < 2 * size:
            raise TooFewError(f"{count} images are too few for features of size {size}; it needs {2 * size} or more")
        return distance_infinity(generated, evidence.real.moments, transport(evidence).distance)

    def errors(self, evidence: Evidence) -> float:
        """That of the Fréchet distance: halves err together as their whole does."""
        return error_of(evidence)
