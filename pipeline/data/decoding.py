"""Pieces of work on picture files, which any process can do: looking at one, and decoding one."""

import dataclasses
import hashlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.base.sizes import Size
from pipeline.data.collection import Collection
from pipeline.data.deep import Depths
from pipeline.data.encoded import encode
from pipeline.data.image_file import BadImageError, read, several_pictures
from pipeline.data.options import DataOptions
from pipeline.data.pixels import fit, in_mode, is_grey, is_transparent, to_grey_or_rgb, upright_size

GREY, SEVERAL, DECODED, TRANSPARENT = 1, 2, 4, 8  # bits of what is seen of a file

# SHA-256, (width, height), bits; or why the file can't be read.
Look = tuple[bytes, tuple[int, int], int] | str
# (What was decoded, or why it can't be; what a picture of more than eight bits uses of its range).
Decoded = tuple[np.ndarray | bytes | str, tuple[float, float] | None]


@dataclasses.dataclass(frozen=True)
class Way:
    """How a picture gets its size and its colours.

    Attributes:
      size: (height, width); None keeps its own.
      how: how it gets that, see `pipeline.data.pixels.fit`.
      keep: whether transparent pictures stay so.
    """

    size: Size | None
    how: str
    keep: bool

    @classmethod
    def of(cls, options: DataOptions) -> "Way":
        """As flags say."""
        return cls(options.prepared_size, options.fit, options.transparency == "keep")

    def __call__(self, file: Image.Image, depths: Depths) -> Image.Image:
        """Decodes an open file."""
        image = to_grey_or_rgb(file, depths, keep=self.keep)
        return image if self.size is None else fit(image, self.size, self.how)


@dataclasses.dataclass(frozen=True)
class Looking:
    """Looks at files.

    Attributes:
      files: where they are.
      numbers: which of them.
      way: how their pixels are decoded, to find those whose damage shows only there; None leaves that out.
    """

    files: Collection
    numbers: NDArray[np.int64]
    way: Way | None

    def __call__(self, place: int) -> Look:
        """Looks at one, by its place in `numbers`."""
        try:
            content = self.files.read(int(self.numbers[place]))
            return hashlib.sha256(content).digest(), *read(content, self._seen)
        except BadImageError as error:
            return str(error)

    def _seen(self, file: Image.Image) -> tuple[tuple[int, int], int]:
        several = several_pictures(file)
        size, traits = upright_size(file), GREY * is_grey(file) + SEVERAL * several + TRANSPARENT * is_transparent(file)
        if self.way is not None:
            self.way(file, Depths())
        return size, traits + DECODED * (self.way is not None)


@dataclasses.dataclass(frozen=True)
class Decoding:
    """Decodes files.

    Attributes:
      files: where they are.
      numbers: which of them.
      way: how.
      size: (height, width) that all must have then.
      mode: that they are brought to.
      as_they_are: for each, whether the file itself is wanted, if it can be decoded; None wants pixels of all.
    """

    files: Collection
    numbers: NDArray[np.int64]
    way: Way
    size: Size
    mode: str
    as_they_are: NDArray[np.bool_] | None = None

    def __call__(self, place: int) -> Decoded:
        """Decodes one, by its place in `numbers`: uint8 [H, W, C], or a picture file of the same pixels."""
        depths = Depths()
        try:
            content = self.files.read(int(self.numbers[place]))
            image = read(content, lambda file: self.way(file, depths))
        except BadImageError as error:
            return str(error), None
        used = (depths.low, depths.high) if depths.images else None
        if image.size != self.size[::-1]:
            return f"its pixels are {image.height}x{image.width}, other than its head says", used
        if self.mode == "L" != image.mode:
            return "its pixels have colours, other than its head says", used
        if self.as_they_are is not None and self.as_they_are[place]:
            return content, used
        pixels = np.asarray(in_mode(image, self.mode)).reshape(*self.size, -1)
        return (pixels if self.as_they_are is None else encode(pixels)), used
