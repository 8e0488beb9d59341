"""Grey pixels of more than eight bits, brought to eight by the range that their file declares."""

import dataclasses
import struct
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT, _LOWEST, _HIGHEST = 258, 262, 339, 340, 341  # TIFF's tags
_SIGNED, _FLOAT = 2, 3
_WHITE_IS_ZERO = 0
_PNG_HEAD = 8  # bytes before the first chunk
_SUSPICIOUS = 0.25  # share of the range that 14 bits in 16 use at most


@dataclasses.dataclass
class Depths:
    """How much of their range images use whose files declare none but their type's.

    Attributes:
      images: number of such images.
      low: their least value, in shares of the range.
      high: their greatest value.
    """

    images: int = 0
    low: float = 1.0
    high: float = 0.0
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def add(self, low: float, high: float) -> None:
        """Takes the least and the greatest value of an image, in shares of its range; threads may."""
        with self.lock:
            self.images += 1
            self.low, self.high = min(self.low, low), max(self.high, high)

    def warning(self) -> str:
        """Says in a sentence that they came out almost in one tone; empty if they did not."""
        if not self.images or self.high - self.low > _SUSPICIOUS:
            return ""
        return (
            f"{self.images:,} images of more than 8 bits lie between {self.low:.2%} and {self.high:.2%} of what their "
            "type can hold, so they come out almost in one tone; if they have fewer bits, let the files say so (PNG: "
            "sBIT, TIFF: SMaxSampleValue), or convert them to 8 bits."
        )


def is_deep(image: Image.Image) -> bool:
    """Whether an image is grey with more than eight bits."""
    return image.mode.startswith(("I", "F"))


def to_eight_bits(image: Image.Image, depths: Depths) -> Image.Image:
    """Scales a deep grey image to mode L.

    Args:
      image: for which `is_deep` holds.
      depths: is told what the image uses of its range, unless its file declares one.

    Raises:
      ValueError: if the file doesn't say what its values mean.
    """
    significant = _significant_bits(image)  # of a file that is closed once its pixels are loaded
    image.load()
    tags: Mapping[int, Any] = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    pixels = np.asarray(image)
    pixels = pixels.astype(np.float64) if image.mode == "F" else pixels.astype(np.int64)
    low, high = _range_of_type(image, tags, pixels)
    declared = _declared_range(tags, low, high) or _range_of_bits(significant, pixels)
    if declared is None:
        depths.add((pixels.min() - low) / (high - low), (pixels.max() - low) / (high - low))
        if pixels.min() < low or pixels.max() > high:
            raise ValueError(f"values from {pixels.min()} to {pixels.max()}, whose range it does not declare")
    grey = _scale(pixels, *(declared or (low, high)))
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        alpha = np.where(pixels == transparent, 0, 255).astype(np.uint8)
        return Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])
    return Image.fromarray(grey)


def _range_of_type(image: Image.Image, tags: Mapping[int, Any], pixels: np.ndarray) -> tuple[float, float]:
    """(black, white) by the type of the values; makes `pixels` unsigned where they are."""
    if not np.isfinite(pixels).all():
        raise ValueError("values that are not finite")
    bits, kind = (_first(tags.get(tag, default)) for tag, default in ((_BITS, 16), (_SAMPLE_FORMAT, 1)))
    if image.mode == "F":
        return 0, 1
    if kind == _SIGNED:
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    if tags:
        pixels %= 2**32  # Pillow has no unsigned 32-bit values
    return 0, 2**bits - 1


def _declared_range(tags: Mapping[int, Any], low: float, high: float) -> tuple[float, float] | None:
    if _LOWEST not in tags and _HIGHEST not in tags:
        return None
    low, high = float(_first(tags.get(_LOWEST, low))), float(_first(tags.get(_HIGHEST, high)))
    if not low < high:
        raise ValueError(f"SMinSampleValue {low} is not below SMaxSampleValue {high}")
    return low, high


def _range_of_bits(bits: int, pixels: np.ndarray) -> tuple[float, float] | None:
    """The range of PNG's sBIT, unless the values have been spread over all 16 bits, as the standard wants."""
    spare = 2 ** (16 - bits) - 1
    right_aligned = bits < 16 and pixels.max() < 2**bits and bool(((pixels & spare) > 1).any())
    return (0, 2**bits - 1) if right_aligned else (0, 2**16 - 1) if bits < 16 else None


def _significant_bits(image: Image.Image) -> int:
    """What the chunk sBIT of a PNG file says; 16 if there is none."""
    if not isinstance(image, PngImagePlugin.PngImageFile) or image.fp is None:
        return 16
    place = image.fp.tell()
    try:
        image.fp.seek(_PNG_HEAD)
        while len(head := image.fp.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            if name == b"sBIT" and length == 1:
                return min(16, max(1, image.fp.read(1)[0]))
            if name in (b"IDAT", b"IEND"):
                break
            image.fp.seek(length + 4, 1)
        return 16
    finally:
        image.fp.seek(place)


def _scale(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Brings [low, high] to uint8."""
    if float(low).is_integer() and float(high).is_integer() and pixels.dtype == np.int64:
        span = int(high) - int(low)
        if span >= 255 and span & (span + 1) == 0:  # all values of so many bits: the highest eight of them
            return ((pixels - int(low)) >> (span.bit_length() - 8)).clip(0, 255).astype(np.uint8)
    return ((pixels - low) * (255 / (high - low))).round().clip(0, 255).astype(np.uint8)


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) else value
