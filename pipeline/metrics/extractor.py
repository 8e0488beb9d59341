"""What turns images into features."""

import dataclasses
from typing import Protocol

import numpy as np


@dataclasses.dataclass(frozen=True)
class Features:
    """What an extractor says of images.

    Attributes:
      features: float32 [n, d].
      probabilities: of the data set's classes, float32 [n, K]; None if the extractor does not know them.
      modes: of data with countable modes, which one an image shows, int64 [n]; otherwise None.
      num_modes: how many there are.
    """

    features: np.ndarray
    probabilities: np.ndarray | None
    modes: np.ndarray | None = None
    num_modes: int = 0


class Extractor(Protocol):
    """A fixed network that describes images.

    Attributes:
      name: such as "classifier"; distances of different extractors can't be compared.
      facts: what to print beside its figures, such as the classifier's test accuracy.
    """

    name: str
    facts: dict[str, float]

    def __call__(self, images: np.ndarray) -> Features:
        """Describes uint8 [n, H, W, C]."""
