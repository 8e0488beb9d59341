"""Pictures that are kept as files and decoded when they are drawn: where raw pixels would not fit the disk.

Each is what the data set's own file holds if that is of the right size, else lossless WebP, which takes a third of the
pixels' bytes and decodes faster than PNG (BUILD.md, "Prepare data").
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.base.ahead import ahead
from pipeline.base.errors import MirageError
from pipeline.data.image_file import BadImageError, read
from pipeline.data.pixels import in_mode, to_grey_or_rgb

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_LARGEST = 16383  # WebP's side


def encode(pixels: np.ndarray) -> bytes:
    """Packs uint8 [H, W, C] without loss."""
    height, width, channels = pixels.shape
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    content = io.BytesIO()
    if max(height, width) <= _LARGEST:
        image.save(content, "WEBP", lossless=True, method=0, exact=True)
    else:
        image.save(content, "PNG", compress_level=1)
    return content.getvalue()


def decode(content: bytes, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Decodes a picture of a known shape, uint8 [H, W, C]; raises BadImageError if it is none."""

    def use(image: Image.Image) -> np.ndarray:
        seen = to_grey_or_rgb(image, keep=image_shape[2] == 4)
        return np.asarray(in_mode(seen, _MODES[image_shape[2]])).reshape(image_shape)

    return read(content, use)


class EncodedImages:
    """Looks like uint8 [N, H, W, C]; what is drawn by an array of numbers is decoded, by all cores.

    Attributes:
      shape: (N, H, W, C).
      dtype: uint8.
      ndim: 4.
    """

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(
        self,
        content: np.ndarray,
        offsets: NDArray[np.int64],
        image_shape: tuple[int, int, int],
        chosen: range,
        window: tuple[slice, slice] = (slice(None), slice(None)),
    ) -> None:
        """Of pictures that lie behind one another.

        Args:
          content: uint8 [bytes], such as a memory map.
          offsets: int64 [N + 1] of each picture, and of the end.
          image_shape: (H, W, C).
          chosen: which of them.
          window: which rows and columns of each.
        """
        self._content, self._offsets, self._whole_shape, self._chosen = content, offsets, image_shape, chosen
        self._window = window
        height, width = (len(range(side)[part]) for side, part in zip(image_shape[:2], window, strict=True))
        self._image_shape = height, width, image_shape[2]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, C)."""
        return len(self), *self._image_shape

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._chosen)

    def __getitem__(self, key: Any) -> Any:
        """Of slices, those pictures or parts of them, not decoded yet; of numbers or an array of them, the pixels."""
        if isinstance(key, tuple):
            (first, rows, columns), whole = key, self._window == (slice(None), slice(None))
            if not whole or not isinstance(first, slice):
                return np.asarray(self[first])[..., rows, columns, :]
            return EncodedImages(self._content, self._offsets, self._whole_shape, self._chosen[first], (rows, columns))
        if isinstance(key, slice):
            return EncodedImages(self._content, self._offsets, self._whole_shape, self._chosen[key], self._window)
        numbers = np.asarray(key)
        if numbers.ndim == 0:
            return self._decode(self._chosen[int(numbers)])
        if numbers.dtype == bool:
            numbers = np.flatnonzero(numbers)
        flat = numbers.reshape(-1)
        parts = ahead(lambda place: self._decode(self._chosen[int(flat[place])]), 0, len(flat), chunk=4)
        pixels = np.empty((len(flat), *self._image_shape), np.uint8)
        for place, part in enumerate(parts):
            pixels[place] = part
        return pixels.reshape(*numbers.shape, *self._image_shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Decodes all."""
        return self[np.arange(len(self))].astype(dtype or np.uint8, copy=False)

    def _decode(self, number: int) -> np.ndarray:
        content = self._content[self._offsets[number] : self._offsets[number + 1]].tobytes()
        try:
            return decode(content, self._whole_shape)[self._window]
        except BadImageError as error:
            raise MirageError(
                f"picture {number} of the prepared data can't be decoded ({error}), so the file is damaged; remove it "
                "by python -m pipeline.prepare --remove, and prepare it again."
            ) from None
