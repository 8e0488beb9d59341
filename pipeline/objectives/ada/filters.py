"""Image-space filtering of four bands of frequencies, and additive noise (arXiv 2006.06676, appendix B.2 and B.3).

Beyond its edges an image goes on by reflection. Of four channels the last one, alpha, is filtered like the colours that
were multiplied by it; noise is added to colours, as far as they can be seen.
"""

from __future__ import annotations

from pipeline.base.libraries import tf
from pipeline.objectives.ada.draws import Draws

NUMBERS, NOISE_NUMBERS = 8, 2
_OCTAVES = 1.0
_POWERS = 10 / 13, 1 / 13, 1 / 13, 1 / 13  # of the bands in photographs
_NOISE = 0.1


def filtered(images: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Amplifies bands of frequencies of float32 [n, H, W, C], so that the power of most images stays about the same."""
    gains: tf.Tensor | float = 1.0
    for band in range(len(_POWERS)):
        gain = tf.where(draws.chosen(), draws.lognormal(_OCTAVES), 1.0)
        power = _POWERS[band] * tf.square(gain) + 1 - _POWERS[band]
        each = [gain if other == band else tf.ones_like(gain) for other in range(len(_POWERS))]
        gains *= tf.stack(each, 1) / tf.sqrt(power)[:, None]
    _, height, width, _ = images.shape
    images = _along(images, gains, height)
    return tf.transpose(_along(tf.transpose(images, [0, 2, 1, 3]), gains, width), [0, 2, 1, 3])


def _along(images: tf.Tensor, gains: tf.Tensor, size: int) -> tf.Tensor:
    """Filters the columns of [n, H, W, C], where H is `size`."""
    from pipeline.objectives.ada.wavelets import band_matrices

    matrices = band_matrices(size)
    whole = tf.reshape(gains @ matrices.reshape(len(matrices), -1), [-1, size, size])
    flat = tf.reshape(images, [*images.shape[:2], -1])
    return tf.reshape(whole @ flat, images.shape)


def noisy(images: tf.Tensor, draws: Draws, noise: tf.Tensor) -> tf.Tensor:
    """Adds noise of a random strength to float32 [n, H, W, C]; `noise` is standard normal, of the same shape."""
    strength = tf.where(draws.chosen(), tf.abs(draws.normal(_NOISE)), 0.0)[:, None, None, None]
    if images.shape[-1] != 4:
        return images + strength * noise
    alpha = (images[..., 3:] + 1) / 2
    return tf.concat([images[..., :3] + strength * alpha * noise[..., :3], images[..., 3:]], axis=3)
