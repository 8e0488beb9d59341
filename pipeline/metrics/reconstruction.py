"""Reconstruction error of autoencoders."""

import numpy as np


def reconstruction_error(images: np.ndarray, reconstructions: np.ndarray) -> float:
    """Root mean square error in grey levels over all pixels; 0 is perfect.

    Args:
      images: uint8 [n, H, W, C].
      reconstructions: uint8, of the same shape.
    """
    return float(np.sqrt(np.square(images.astype(np.float64) - reconstructions).mean()))
