"""What every kind of data set offers: a description, its examples one by one, and where they come from."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.data.encoded import encode
from pipeline.data.spec import DataSpec


@dataclasses.dataclass(frozen=True)
class Source:
    """An opened data set.

    Attributes:
      spec: its description.
      examples: returns (uint8 [H, W, C], label) of each example from a number on; labels are 0 if the data has none,
        and float32 [A] if they are attributes.
      identify: computes `fingerprint`, which may mean to read all files.
      contents: like `examples`, but picture files of which the same pixels can be decoded; None where there are none.
      arrays: (uint8 [N, H, W, C], int32 [N] or float32 [N, A]) if all examples can be had at any place at once; they
        are not copied then.
    """

    spec: DataSpec
    examples: Callable[[int], Iterable[tuple[np.ndarray, Any]]]
    identify: Callable[[], str]
    arrays: tuple[np.ndarray, np.ndarray] | None = None
    contents: Callable[[int], Iterable[tuple[bytes, Any]]] | None = None

    def __iter__(self) -> Iterator[tuple[np.ndarray, Any]]:
        """Yields the examples; raises MirageError as `since`."""
        return self.since(0)

    def since(self, start: int) -> Iterator[tuple[np.ndarray, Any]]:
        """Yields the examples from a number on.

        Raises:
          MirageError: if there are fewer or more than the description says.
        """
        count, expected = start, self.spec.num_examples
        for count, example in enumerate(self.examples(start), start + 1):
            if count > expected:
                break
            yield example
        if count != expected:
            found = f"ends after {count:,} of" if count < expected else "has more than"
            raise MirageError(f"--dataset={self.spec.name} {found} its {expected:,} images; prepare it again.")

    def contents_since(self, start: int) -> Iterable[tuple[bytes, Any]]:
        """Yields (a picture file, label) of the examples from a number on; raises MirageError as `since`."""
        if self.contents is not None:
            return self.contents(start)
        return ((encode(image), label) for image, label in self.since(start))

    @functools.cached_property
    def fingerprint(self) -> str:
        """What the examples are by their content: the same wherever it lies, another whenever it changes."""
        return self.identify()


def room_for_labels(spec: DataSpec, count: int | None = None) -> np.ndarray:
    """Zeros of the type that labels have, int32 [N] or with attributes float32 [N, A], of all images or of `count`."""
    count = spec.num_examples if count is None else count
    return np.zeros((count, len(spec.attributes)), np.float32) if spec.attributes else np.zeros(count, np.int32)


def skipping(make: Callable[[], Iterable[tuple[np.ndarray, Any]]]) -> Callable[[int], Iterable]:
    """Makes the `examples` of a `Source` of what can only be read from its beginning."""
    return lambda start: itertools.islice(make(), start, None)


def _nothing_apart() -> None:
    return None


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a data set comes from, of which nothing has been read yet.

    Attributes:
      open: prepares it if necessary, and opens it.
      describe: describes it without preparing it, `num_examples` being 0 if that isn't known yet; None where only
        opening tells.
      test: finds the images that are kept apart for testing; returns None if there are none.
    """

    open: Callable[[], Source]
    describe: Callable[[], DataSpec] | None = None
    test: Callable[[], "Origin | None"] = _nothing_apart
