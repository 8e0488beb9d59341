"""What a classifier says of samples: score, and spread over the classes."""

import dataclasses
from typing import ClassVar

import numpy as np

from pipeline.metrics.metric import Evidence, Metric


def inception_score(probabilities: np.ndarray) -> float:
    """Exp E KL(p(y|x) || p(y)) (Salimans et al. 2016, arXiv 1606.03498), with any classifier.

    Args:
      probabilities: float [n, K], rows that sum to 1.

    Returns:
      From 1 (all alike, or all undecided) to K (decided, and all classes equally frequent).
    """
    return float(np.exp(_divergences(probabilities).mean()))


def error_of_inception_score(probabilities: np.ndarray) -> float:
    """Standard error of `inception_score`, by the delta method."""
    divergences = _divergences(probabilities)
    return float(np.exp(divergences.mean()) * divergences.std() / np.sqrt(len(divergences)))


def _divergences(probabilities: np.ndarray) -> np.ndarray:
    """KL(p(y|x) || p(y)) of each sample, float64 [n]."""
    p = np.asarray(probabilities, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(p > 0, p * (np.log(p) - np.log(p.mean(axis=0))), 0.0).sum(axis=1)


def histogram(probabilities: np.ndarray) -> np.ndarray:
    """Share of samples in each class as the classifier sees them, float64 [K]."""
    counts = np.bincount(probabilities.argmax(axis=1), minlength=probabilities.shape[1])
    return counts / len(probabilities)


def entropy(shares: np.ndarray) -> float:
    """Entropy of a histogram relative to that of a uniform one: 1 if even, 0 if all in one class."""
    present = shares[shares > 0]
    return float(-(present * np.log(present)).sum() / np.log(len(shares))) if len(shares) > 1 else 1.0


def kl_to_uniform(counts: np.ndarray) -> float:
    """KL divergence in nats of observed classes from the uniform distribution; 0 if even.

    Args:
      counts: number of samples in each class, [K].
    """
    shares = counts / counts.sum()
    present = shares[shares > 0]
    return float((present * np.log(present * len(shares))).sum())


@dataclasses.dataclass(frozen=True)
class InceptionScore(Metric):
    """`inception_score`, with the classes of the run's own data."""

    figures = ("inception_score",)
    needs = ("probabilities",)
    compared = False
    higher_is_better = figures
    limits: ClassVar = {"inception_score": (1.0, np.inf)}

    def __call__(self, evidence: Evidence) -> float:
        """See `Metric`."""
        return inception_score(evidence.generated.probabilities)

    def errors(self, evidence: Evidence) -> float:
        """See `Metric`."""
        return error_of_inception_score(evidence.generated.probabilities)


@dataclasses.dataclass(frozen=True)
class ClassEntropy(Metric):
    """`class_entropy`: how evenly generated images are spread over the classes."""

    figures = ("class_entropy",)
    needs = ("probabilities",)
    compared = False
    higher_is_better = figures
    limits: ClassVar = {"class_entropy": (0.0, 1.0)}

    def __call__(self, evidence: Evidence) -> float:
        """See `Metric`."""
        return entropy(histogram(evidence.generated.probabilities))


@dataclasses.dataclass(frozen=True)
class ClassHistogram(Metric):
    """`class_histogram`: share of generated images in each class."""

    figures = ("class_histogram",)
    needs = ("probabilities",)
    quick = False
    compared = False
    neutral = figures

    def __call__(self, evidence: Evidence) -> list[float]:
        """See `Metric`."""
        return [round(share, 4) for share in histogram(evidence.generated.probabilities).tolist()]
