"""Improved precision and recall (Kynkäänniemi et al. 2019, arXiv 1904.06991)."""

import dataclasses
from typing import ClassVar

import numpy as np

from pipeline.metrics.manifolds import USUAL_K, Located, Manifolds, manifolds
from pipeline.metrics.metric import Evidence, Metric


def precision_recall(real: np.ndarray, generated: np.ndarray, k: int = USUAL_K[0]) -> tuple[float, float]:
    """Shares of samples that lie in the other set's manifold, see `pipeline.metrics.manifolds`.

    Args:
      real: features, float [n, d], n > k.
      generated: features, float [m, d], m > k.
      k: which neighbour.

    Returns:
      (precision, the share of generated samples within the manifold of the real ones; recall, the share of
      real samples within the manifold of the generated ones), each in [0, 1].
    """
    found = Manifolds(Located(real), Located(generated), k, k)
    return found.precise.share, found.recalled.share


@dataclasses.dataclass(frozen=True)
class PrecisionRecall(Metric):
    """`precision` and `recall` of generated images beside the reference; `k` says which neighbour sets radii."""

    k: int = USUAL_K[0]

    figures = ("precision", "recall")
    needs = ("features",)
    higher_is_better = figures
    limits: ClassVar = dict.fromkeys(figures, (0.0, 1.0))

    def __call__(self, evidence: Evidence) -> tuple[float, float]:
        """See `Metric`."""
        found = manifolds(evidence, self.k)
        return found.precise.share, found.recalled.share

    def errors(self, evidence: Evidence) -> tuple[float, float]:
        """See `Metric`."""
        found = manifolds(evidence, self.k)
        return found.precise.error(), found.recalled.error()
