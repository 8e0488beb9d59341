"""Density and coverage (Naeem et al. 2020, arXiv 2002.09797)."""

import dataclasses
from typing import ClassVar

import numpy as np

from pipeline.metrics.manifolds import USUAL_K, Located, Manifolds, manifolds
from pipeline.metrics.metric import Evidence, Metric


def density_coverage(real: np.ndarray, generated: np.ndarray, k: int = USUAL_K[1]) -> tuple[float, float]:
    """How densely generated samples lie where real ones do, and how many real ones they reach.

    Both look at balls around real samples only, each as large as the distance to the sample's k-th nearest neighbour
    within the set: an outlier among generated samples, whose ball would be large, counts for nothing.

    Args:
      real: features, float [n, d], n > k.
      generated: features, float [m, d], m > k.
      k: which neighbour.

    Returns:
      (density, the number of balls that a generated sample lies in on average, divided by k: 1 for equal distributions,
      more where only the densest places are met; coverage, the share of balls with a generated sample in them, in
      [0, 1]: for equal distributions of as many samples about 1 - 2^-k).
    """
    contents = Manifolds(Located(real), Located(generated), k, k).contents
    return contents.density, contents.coverage


@dataclasses.dataclass(frozen=True)
class DensityCoverage(Metric):
    """`density` and `coverage` of generated images beside the reference; `k` says which neighbour sets radii."""

    k: int = USUAL_K[1]

    figures = ("density", "coverage")
    needs = ("features",)
    higher_is_better = figures
    limits: ClassVar = {"density": (0.0, np.inf), "coverage": (0.0, 1.0)}

    def __call__(self, evidence: Evidence) -> tuple[float, float]:
        """See `Metric`."""
        contents = manifolds(evidence, k_of_contents=self.k).contents
        return contents.density, contents.coverage

    def errors(self, evidence: Evidence) -> tuple[float, float]:
        """See `Metric`."""
        return manifolds(evidence, k_of_contents=self.k).contents.errors()
