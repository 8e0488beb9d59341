"""What the pixels of a picture are: bytes of what a network draws in [-1, 1]."""

import numpy as np
from numpy.typing import NDArray


def to_pixels(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Converts images in [-1, 1] to uint8 0..255, rounding half to even and clipping."""
    scaled = images + np.float32(1)
    scaled *= np.float32(127.5)
    np.maximum(scaled, 0, out=scaled)
    np.minimum(scaled, 255, out=scaled)
    return np.rint(scaled, out=scaled).astype(np.uint8)
