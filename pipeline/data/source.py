"""What every kind of data set offers: a description, and its examples one by one."""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.data.spec import DataSpec


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

    def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
        """Yields the examples.

        Raises:
          MirageError: if there are fewer or more than the description says.
        """
        count, expected = 0, self.spec.num_examples
        for count, example in enumerate(self.examples, 1):
            if count > expected:
                break
            yield example
        if count != expected:
            found = f"ends after {count:,} of" if count < expected else "has more than"
            raise MirageError(f"--dataset={self.spec.name} {found} its {expected:,} images; prepare it again.")

    @functools.cached_property
    def fingerprint(self) -> str:
        """What the examples are by their content: the same wherever it lies, another whenever it changes."""
        return self.identify()
