"""Whether a generator copies its training images (Meehan et al. 2020, arXiv 2004.05675), in features."""

import dataclasses
from typing import ClassVar

import numpy as np

from pipeline.metrics.metric import Evidence, Metric
from pipeline.metrics.neighbours import nearest_of_all


def data_copying(generated: np.ndarray, unseen: np.ndarray) -> tuple[float, float]:
    """Probability that a generated image is nearer to a training image than an unseen real one is.

    The Mann-Whitney statistic of the paper's test, over all of feature space at once.

    Args:
      generated: distance of each generated image to the nearest training image, float [n].
      unseen: the same of real images that were not trained on, float [m].

    Returns:
      (the probability, where equal distances count half: 0.5 if generated images keep as far from training images as
      others do, 1 if all are nearer; its standard error).
    """
    nearer = _share_beyond(generated, unseen)
    further = 1 - _share_beyond(unseen, generated)
    error = np.sqrt(nearer.var(ddof=1) / len(generated) + further.var(ddof=1) / len(unseen))
    return float(nearer.mean()), float(error)


def _share_beyond(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Of each value, the share of others that are larger; equal ones count half."""
    others = np.sort(others)
    sides = [np.searchsorted(others, values, side=side) for side in ("left", "right")]
    return 1 - np.mean(sides, axis=0) / len(others)


@dataclasses.dataclass(frozen=True)
class DataCopying(Metric):
    """`data_copying`: probability that a generated image is nearer to a training image than an unseen real one is.

    Nearest in features, among the training images, of which 50,000 are chosen if there are more; looked for of up to
    `queries` generated and as many unseen images. 0.5 is best; above lies copying, below are images that are far from
    all that is real.

    Of data without a test split nothing is unseen: halves of it stand for both, so that a generator that copies all
    alike has 0.75, not 1.
    """

    queries: int = 2000

    figures = ("data_copying",)
    needs = ("features",)
    quick = False
    compared = False
    neutral = figures
    limits: ClassVar = {"data_copying": (0.0, 1.0)}

    def __call__(self, evidence: Evidence) -> float:
        """See `Metric`."""
        return self._found(evidence)[0]

    def errors(self, evidence: Evidence) -> float:
        """See `Metric`."""
        return self._found(evidence)[1]

    def _found(self, evidence: Evidence) -> tuple[float, float]:
        def find() -> tuple[float, float]:
            queries = (evidence.generated.features, evidence.known_and_unseen[1].features)
            known = evidence.known.features
            distances = [nearest_of_all(each[: self.queries], known, 1)[1][:, 0] for each in queries]
            return data_copying(distances[0], distances[1])

        return evidence.once(self, find)
