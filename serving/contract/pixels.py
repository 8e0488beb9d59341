"""What the pixels of a picture are: bytes of what a network draws in [-1, 1].

A network of four channels draws red, green, blue and alpha. Its colours are premultiplied, that is times alpha, or
straight; the value v stands for (v + 1) / 2. Pixels are straight always, as in PNG files. Premultiplied values become
straight pixels in whole numbers, the same in every runtime:

1. All four become levels 0..255, as those of other pictures.
2. A colour c that is more than the alpha a becomes a.
3. The pixel's colour is (255 c + a // 2) // a; 0 where a is 0.
"""

import numpy as np
from numpy.typing import NDArray

from serving.contract.manifest import PREMULTIPLIED

# Numbers of NumPy's own, since making them of Python's takes longer than a small picture.
_ZERO, _ONE, _HALF, _MOST = (np.float32(each) for each in (0, 1, 127.5, 255))


def to_pixels(
    images: NDArray[np.float32], alpha: str | None = None, scratch: NDArray[np.float32] | None = None
) -> NDArray[np.uint8]:
    """Converts images in [-1, 1] to uint8 0..255, rounding half to even and clipping.

    Args:
      images: float32 of any shape; with an alpha, [..., 4].
      alpha: what their colours are, as in `ModelInfo`.
      scratch: an array of that shape which may be overwritten, as the images themselves may be, if nobody needs them.

    Returns:
      uint8 of that shape; with an alpha, straight.
    """
    scaled = np.add(images, _ONE, out=scratch)
    scaled *= _HALF
    np.maximum(scaled, _ZERO, out=scaled)
    np.minimum(scaled, _MOST, out=scaled)
    pixels = np.rint(scaled, out=scaled).astype(np.uint8)
    return straight(pixels) if alpha == PREMULTIPLIED else pixels


def straight(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Takes alpha out of premultiplied pixels, uint8 [..., 4]; colours beyond alpha count as alpha."""
    wide = pixels.astype(np.uint16)  # which holds 255 * 255 + 127
    alpha = wide[..., 3:]
    wide[..., :3] = (255 * np.minimum(wide[..., :3], alpha) + alpha // 2) // np.maximum(alpha, 1)
    return wide.astype(np.uint8)


def premultiplied(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Multiplies straight pixels, uint8 [..., 4], by their alpha: what they add to a picture behind them.

    Of pixels that `straight` made, it gives back those that it was given.
    """
    wide = pixels.astype(np.uint16)
    wide[..., :3] = (wide[..., :3] * wide[..., 3:] + 127) // 255
    return wide.astype(np.uint8)


def over_white(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lays straight pixels, uint8 [..., 4], over white: uint8 [..., 3]."""
    inside = premultiplied(pixels)
    return inside[..., :3] + (255 - inside[..., 3:])
