"""What every kind of data set offers: a description, and its examples one by one."""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np

from pipeline.data_spec import DataSpec


@dataclasses.dataclass(frozen=True)
class Source:
    """An opened data set.

    Attributes:
      spec: its description.
      examples: (uint8 [H, W, C], label) of each example; can be iterated once; labels are 0 if the data has
        none.
      identify: computes `fingerprint`, which may mean to read all files.
    """

    spec: DataSpec
    examples: Iterator[tuple[np.ndarray, int]]
    identify: Callable[[], str]

    @functools.cached_property
    def fingerprint(self) -> str:
        """What the examples are by their content: the same wherever it lies, another whenever it changes."""
        return self.identify()
