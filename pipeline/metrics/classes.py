"""What a classifier says of samples: score, accuracy of their labels, spread over the classes."""

import numpy as np


def inception_score(probabilities: np.ndarray) -> float:
    """Exp E KL(p(y|x) || p(y)) (Salimans et al. 2016, arXiv 1606.03498), with any classifier.

    Args:
      probabilities: float [n, K], rows that sum to 1.

    Returns:
      From 1 (all alike, or all undecided) to K (decided, and all classes equally frequent).
    """
    p = np.asarray(probabilities, np.float64)
    marginal = p.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * (np.log(p) - np.log(marginal)), 0.0)
    return float(np.exp(terms.sum(axis=1).mean()))


def label_accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Share of samples in which the classifier sees the class that the generator was asked for.

    Args:
      probabilities: float [n, K].
      labels: int [n].
    """
    return float((probabilities.argmax(axis=1) == labels).mean())


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
