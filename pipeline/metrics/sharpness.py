"""Sharpness: how much an image changes from pixel to pixel."""

import numpy as np


def sharpness(images: np.ndarray) -> float:
    """Standard deviation of the Laplacian over all pixels, in grey levels; blur lowers it.

    Args:
      images: uint8 [n, H, W, C], H and W at least 3.
    """
    x = images.astype(np.float32)
    around = x[:, :-2, 1:-1] + x[:, 2:, 1:-1] + x[:, 1:-1, :-2] + x[:, 1:-1, 2:]
    return float((around - 4 * x[:, 1:-1, 1:-1]).std(dtype=np.float64))
