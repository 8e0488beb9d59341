"""When pictures of two runtimes count as the same."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from serving.contract.pixels import premultiplied

MAX_PIXEL_SHARE = 0.001  # of uint8 values that may differ, by one level


@dataclasses.dataclass(frozen=True)
class Closeness:
    """How far uint8 pictures are apart.

    Attributes:
      levels: largest difference, of 255.
      share: share of values that differ.
      same: whether they count as the same: none by more than a level, no more than `MAX_PIXEL_SHARE` of them.
    """

    levels: int
    share: float
    same: bool

    def __str__(self) -> str:
        """Says it, with what is allowed."""
        return f"by {self.levels} levels in {self.share:.2%} of pixels (at most one, in {MAX_PIXEL_SHARE:.1%})"


def closeness(actual: NDArray[np.uint8], expected: NDArray[np.uint8]) -> Closeness:
    """Compares uint8 pictures, [..., H, W, C]; those with an alpha channel as they look, premultiplied.

    A premultiplied level is many straight ones where alpha is low, and nothing can be seen of the difference.
    """
    levels = np.abs(visible(actual).astype(int) - visible(expected))
    # One pixel that lies on the edge between two levels is more than 0.1 % of a small image.
    few = np.sum(levels > 0) <= max(1, MAX_PIXEL_SHARE * levels.size)
    return Closeness(int(levels.max()), float(np.mean(levels > 0)), bool(levels.max() <= 1 and few))


def visible(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What one sees of uint8 pictures, [..., C]: of four channels, premultiplied ones."""
    return premultiplied(pixels) if pixels.shape[-1] == 4 else pixels
