"""Image-space filtering of four bands of frequencies, and additive noise (arXiv 2006.06676, appendix B.2 and B.3).

Beyond its edges an image goes on by reflection. Of four channels the last one, alpha, is filtered like the colours that
were multiplied by it; noise is added to colours, as far as they can be seen.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from pipeline.base.libraries import tf
from pipeline.objectives.ada.draws import Draws, linear

NUMBERS, NOISE_NUMBERS = 8, 2
_OCTAVES = 1.0
_POWERS = 10 / 13, 1 / 13, 1 / 13, 1 / 13  # of the bands in photographs
_NOISE = 0.1


def filtering(draws: Draws, shape: Sequence[int]) -> Callable[[tf.Tensor], tf.Tensor]:
    """Makes a function that amplifies bands of images [n, H, W, C], so that the power of most stays about the same."""
    gains: tf.Tensor | float = 1.0
    for band in range(len(_POWERS)):
        gain = tf.where(draws.chosen(), draws.lognormal(_OCTAVES), 1.0)
        power = _POWERS[band] * tf.square(gain) + 1 - _POWERS[band]
        each = [gain if other == band else tf.ones_like(gain) for other in range(len(_POWERS))]
        gains *= tf.stack(each, 1) / tf.sqrt(power)[:, None]
    height, width, _ = shape
    of_height, of_width = _matrices(gains, height), _matrices(gains, width)

    def filtered(images: tf.Tensor, *, transpose: bool) -> tf.Tensor:
        for matrices, side in ((of_height, height), (of_width, width)):
            lines = tf.matmul(matrices, tf.reshape(images, [images.shape[0], side, -1]), transpose_a=transpose)
            # The other axis comes first, twice.
            images = tf.transpose(tf.reshape(lines, images.shape), [0, 2, 1, 3])
        return images

    return linear(functools.partial(filtered, transpose=False), functools.partial(filtered, transpose=True))


def _matrices(gains: tf.Tensor, size: int) -> tf.Tensor:
    """What amplifies bands by [n, 4] along an axis, [n, size, size]."""
    from pipeline.objectives.ada.wavelets import band_matrices

    return tf.reduce_sum(gains[:, :, None, None] * band_matrices(size), axis=1)


def adding(draws: Draws, noise: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
    """Makes a function that adds noise of a random strength; `noise` is standard normal, of the images' shape."""
    strength = tf.where(draws.chosen(), tf.abs(draws.normal(_NOISE)), 0.0)[:, None, None, None]
    if noise.shape[-1] != 4:
        return lambda images: images + strength * noise

    def noisy(images: tf.Tensor) -> tf.Tensor:
        alpha = (images[..., 3:] + 1) / 2
        return tf.concat([images[..., :3] + strength * alpha * noise[..., :3], images[..., 3:]], axis=3)

    return noisy
