"""Images in the size that a network takes, resized exactly as others do, since distances depend on it.

Each way is linear and works on rows and columns by themselves, so it is a matrix for each (Parmar et al. 2022, arXiv
2104.11222, compare them).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.base.errors import MirageError


def matrix(old: int, new: int, way: str) -> np.ndarray:
    """How a row of pixels is resized.

    Args:
      old: its pixels.
      new: those that it shall have.
      way: `tensorflow`, bilinear as TensorFlow 1 had it, corners and centres of pixels taken for the same thing, not
        antialiased: what the Fréchet inception distance was defined with; `pytorch`, bilinear, not antialiased;
        `pillow`, bicubic and antialiased.

    Returns:
      float32 [new, old].
    """
    scale = old / new
    weights = np.zeros((new, old))
    if way == "pillow":
        stretch = max(scale, 1.0)
        support = 2 * stretch
        for i in range(new):
            centre = (i + 0.5) * scale
            places = np.arange(max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), old))
            values = _cubic((places - centre + 0.5) / stretch)
            weights[i, places] = values / values.sum()
        return weights.astype(np.float32)
    for i in range(new):
        # As float32, like theirs: a place that is a little less than a whole number belongs to the pixel before.
        place = np.float32(i) * np.float32(scale) if way == "tensorflow" else np.float32((i + 0.5) * scale - 0.5)
        at = max(float(place), 0.0)
        low = min(math.floor(at), old - 1)
        share = min(at - low, 1.0)
        weights[i, low] += 1 - share
        weights[i, min(low + 1, old - 1)] += share
    return weights.astype(np.float32)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys's kernel with a = -0.5."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def resized(images: tf.Tensor, size: int, way: str) -> tf.Tensor:
    """Resizes images, within a `tf.function`.

    Args:
      images: uint8 [n, H, W, 1, 3 or 4], of a known size.
      size: height and width that they shall have.
      way: see `matrix`.

    Returns:
      float32 [n, size, size, 3], in 0 to 255; grey ones have three equal channels, transparent ones are laid over
      white.

    Raises:
      MirageError: if they have another number of channels.
    """
    x = coloured(images)
    height, width = images.shape[1:3]
    if (height, width) != (size, size):
        x = tf.einsum("ih,nhwc->niwc", matrix(height, size, way), x)
        x = tf.einsum("jw,niwc->nijc", matrix(width, size, way), x)
        x = tf.clip_by_value(x, 0, 255)
    return x


def coloured(images: tf.Tensor) -> tf.Tensor:
    """Gives images three channels.

    Args:
      images: uint8 [n, H, W, 1, 3 or 4].

    Returns:
      float32 [n, H, W, 3], in 0 to 255, see `resized`.

    Raises:
      MirageError: if they have another number of channels.
    """
    channels = images.shape[3]
    if channels not in (1, 3, 4):
        raise MirageError(
            f"images of {channels} channels can't be described by a network that knows colours; expected 1, 3 or 4."
        )
    x = tf.cast(images, tf.float32)
    if channels == 4:
        shares = x[..., 3:] / 255.0
        x = x[..., :3] * shares + 255.0 * (1.0 - shares)
    return tf.repeat(x, 3, axis=-1) if channels == 1 else x


def in_blocks(function: Callable[[tf.Tensor], Any], images: np.ndarray, size: int) -> np.ndarray:
    """Calls a function on images, always with as many, so that what it says of one doesn't depend on the others.

    Args:
      function: of uint8 [size, H, W, C] to float32 [size, d].
      images: uint8 [n, H, W, C].
      size: images at once.

    Returns:
      float32 [n, d].
    """
    parts = []
    for start in range(0, len(images), size):
        part = images[start : start + size]
        filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
        parts.append(np.asarray(function(tf.constant(filled)))[: len(part)])
    return np.concatenate(parts)
