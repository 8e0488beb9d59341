"""Label accuracy: whether a generator makes what it is asked for."""

import dataclasses
from typing import ClassVar

import numpy as np

from pipeline.metrics.metric import Evidence, Metric
from pipeline.metrics.shares import error_of_share


def label_accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Share of samples in which the classifier sees the class that the generator was asked for.

    Args:
      probabilities: float [n, K].
      labels: int [n].
    """
    return float((probabilities.argmax(axis=1) == labels).mean())


@dataclasses.dataclass(frozen=True)
class LabelAccuracy(Metric):
    """`label_accuracy`: share of generated images in which the classifier sees the class that they were asked for."""

    figures = ("label_accuracy",)
    needs = ("probabilities", "labels")
    higher_is_better = figures
    limits: ClassVar = {"label_accuracy": (0.0, 1.0)}

    def __call__(self, evidence: Evidence) -> float:
        """See `Metric`."""
        return label_accuracy(evidence.generated.probabilities, evidence.generated.labels)

    def errors(self, evidence: Evidence) -> float:
        """See `Metric`."""
        return error_of_share(evidence.generated.probabilities.argmax(axis=1) == evidence.generated.labels)
