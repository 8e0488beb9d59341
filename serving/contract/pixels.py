"""What the pixels of a picture are: bytes of what a network draws in [-1, 1]."""

import numpy as np
from numpy.typing import NDArray

# Numbers of NumPy's own, since making them of Python's takes longer than a small picture.
_ZERO, _ONE, _HALF, _MOST = (np.float32(each) for each in (0, 1, 127.5, 255))


def to_pixels(images: NDArray[np.float32], scratch: NDArray[np.float32] | None = None) -> NDArray[np.uint8]:
    """Converts images in [-1, 1] to uint8 0..255, rounding half to even and clipping.

    Args:
      images: of any shape.
      scratch: an array of that shape which may be overwritten, as the images themselves may be, if nobody needs them.
    """
    scaled = np.add(images, _ONE, out=scratch)
    scaled *= _HALF
    np.maximum(scaled, _ZERO, out=scaled)
    np.minimum(scaled, _MOST, out=scaled)
    return np.rint(scaled, out=scaled).astype(np.uint8)
