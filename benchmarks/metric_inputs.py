"""Pictures and weights that are the same on every machine, to compare metrics with other people's. NumPy only."""

import numpy as np


def pictures(count: int, size: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Makes pictures with shapes and noise.

    Args:
      count: how many.
      size: height and width.
      channels: 1 or 3.
      seed: of what is on them.

    Returns:
      uint8 [count, size, size, channels].
    """
    rng = np.random.RandomState(seed)  # whose numbers are promised never to change
    coarse = rng.randint(0, 256, (count, -(-size // 4), -(-size // 4), channels))
    shapes = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :size, :size]
    return np.clip(shapes + rng.randint(-30, 31, shapes.shape), 0, 255).astype(np.uint8)
