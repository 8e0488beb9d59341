"""What is surveyed: picture files, or the examples of any other source, by their numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.base.ahead import ahead
from pipeline.data.attributes import Labels
from pipeline.data.collection import Collection
from pipeline.data.image_file import BadImageError, read
from pipeline.data.pixels import to_grey_or_rgb
from pipeline.data.source import Source, room_for_labels
from pipeline.data.survey.measures import Ruler, as_image
from serving.contract.attributes import Attribute

_BLOCK = 256


class Subject(Protocol):
    """Pictures by their numbers.

    Attributes:
      labels: int32 [N], or float32 [N, A] of attributes; those of examples are known once these are measured.
      with_files: whether each is a file.
      at_random: whether any can be had as fast as the first.
    """

    labels: NDArray[Any]
    with_files: bool
    at_random: bool

    @property
    def class_names(self) -> Sequence[str]:
        """In label order."""

    @property
    def attributes(self) -> Sequence[Attribute]:
        """What labels are, where they are attributes."""

    def __len__(self) -> int:
        """Number of pictures."""

    def name(self, number: int) -> str:
        """What a picture is called."""

    def measured(self, ruler: Ruler, numbers: Sequence[int]) -> Iterator[tuple | str]:
        """Measures pictures.

        Args:
          ruler: measures each.
          numbers: of those to be measured, ascending.

        Yields:
          The values of `ROW` of each, or why it can't be read.
        """

    def pictures(self, numbers: Sequence[int]) -> Iterator[Image.Image | None]:
        """Yields pictures, ascending numbers of which are given: upright, of mode L or RGB; None of a bad one."""


class Files:
    """Picture files."""

    with_files = at_random = True

    def __init__(self, files: Collection, labels: Labels) -> None:
        """Takes files, and what they are of."""
        self._files, self.labels, self._labels = files, labels.values, labels

    @property
    def class_names(self) -> Sequence[str]:
        """See `Subject`."""
        return self._labels.class_names

    @property
    def attributes(self) -> Sequence[Attribute]:
        """See `Subject`."""
        return self._labels.attributes

    def __len__(self) -> int:
        """See `Subject`."""
        return len(self._files)

    def name(self, number: int) -> str:
        """See `Subject`."""
        return self._files.names[number]

    def measured(self, ruler: Ruler, numbers: Sequence[int]) -> Iterator[tuple | str]:
        """See `Subject`."""

        def measure(place: int) -> tuple | str:
            try:
                content = self._files.read(numbers[place])
                return read(content, lambda file: ruler.of_file(content, file))
            except BadImageError as error:
                return str(error)

        return ahead(measure, 0, len(numbers))

    def pictures(self, numbers: Sequence[int]) -> Iterator[Image.Image | None]:
        """See `Subject`."""

        def picture(place: int) -> Image.Image | None:
            try:
                return read(self._files.read(numbers[place]), lambda file: to_grey_or_rgb(file).copy())
            except BadImageError:
                return None

        return ahead(picture, 0, len(numbers), chunk=1)


class Examples:
    """What a source gives, as far as that has no files."""

    with_files = False

    def __init__(self, source: Source) -> None:
        """Takes an opened data set."""
        self._source = source
        arrays = source.arrays
        self.at_random = arrays is not None
        self.labels = room_for_labels(source.spec) if arrays is None else np.asarray(arrays[1])

    @property
    def class_names(self) -> Sequence[str]:
        """See `Subject`."""
        return self._source.spec.class_names

    @property
    def attributes(self) -> Sequence[Attribute]:
        """See `Subject`."""
        return self._source.spec.attributes

    def __len__(self) -> int:
        """See `Subject`."""
        return self._source.spec.num_examples

    def name(self, number: int) -> str:
        """See `Subject`."""
        return f"number {number:,}"

    def measured(self, ruler: Ruler, numbers: Sequence[int]) -> Iterator[tuple | str]:
        """See `Subject`."""
        examples = self._examples(numbers)
        while block := list(itertools.islice(examples, _BLOCK)):
            for number, (_, label) in block:
                self.labels[number] = label
            pixels = [image for _, (image, _) in block]
            yield from ahead(lambda place: ruler.of_pixels(pixels[place]), 0, len(pixels))  # noqa: B023

    def pictures(self, numbers: Sequence[int]) -> Iterator[Image.Image | None]:
        """See `Subject`."""
        for _, (image, _) in self._examples(numbers):
            yield as_image(image)

    def _examples(self, numbers: Sequence[int]) -> Iterator[tuple[int, tuple[NDArray[np.uint8], Any]]]:
        if self._source.arrays is not None:
            images, labels = self._source.arrays
            yield from ((number, (images[number], labels[number])) for number in numbers)
            return
        wanted = iter(numbers)
        number = next(wanted, None)
        for place, example in enumerate(self._source):
            if number is None:
                return
            if place == number:
                yield number, example
                number = next(wanted, None)
