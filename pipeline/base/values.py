"""What networks are given of pixels."""

from __future__ import annotations

from pipeline.base.libraries import tf


def values_of(pixels: tf.Tensor) -> tf.Tensor:
    """Brings pixels to values from -1 to 1.

    Args:
      pixels: uint8 [..., C]; of four channels the last one is alpha.

    Returns:
      float32 of that shape. Colours that have an alpha are multiplied by it, so that what can't be seen has no colour.
    """
    values = tf.cast(pixels, tf.float32)
    if pixels.shape[-1] == 4:
        alpha = values[..., 3:]
        values = tf.concat([values[..., :3] * (alpha / 255.0), alpha], axis=-1)
    return values / 127.5 - 1.0
