"""Label accuracy: whether a generator makes what it is asked for."""

import dataclasses

import numpy as np

from pipeline.metrics.metric import Evidence, Metric


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

    def __call__(self, evidence: Evidence) -> float:
        """See `Metric`."""
        return label_accuracy(evidence.generated.probabilities, evidence.generated.labels)
