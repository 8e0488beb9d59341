"""What every kind of data set offers: a description, and its examples one by one."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from pipeline.data_spec import DataSpec


@dataclasses.dataclass(frozen=True)
class Source:
    """An opened data set.

    Attributes:
      spec: its description.
      examples: (uint8 [H, W, C], label) of each example; can be iterated once; labels are 0 if the data has
        none.
      fingerprint: text that changes whenever the examples may have changed.
    """

    spec: DataSpec
    examples: Iterator[tuple[np.ndarray, int]]
    fingerprint: str
