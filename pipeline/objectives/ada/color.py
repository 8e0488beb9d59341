"""Colour transformations, composed into one affine map of colours (arXiv 2006.06676, appendix B.1).

All of them act on a colour's part along the axis of greys, its mean m, and on what is left of it, each by itself:

    m -> c (1 - 2 i) (m + b)                 brightness b, contrast c, luma flipped if i is 1
    x - m -> c s R (x - m)                   saturation s, R the turn of hues about the axis of greys

An image of one channel has no other part. Of four channels the last one, alpha, stays, and colours that were multiplied
by it come out as if the colours themselves had been changed: the map is affine, so its offset is multiplied by alpha,
and nothing is divided.
"""

from __future__ import annotations

import math

from pipeline.base.libraries import tf
from pipeline.objectives.ada.draws import Draws

NUMBERS = 10
_BRIGHTNESS = 0.2  # standard deviation, of images in [-1, 1]
_CONTRAST, _SATURATION = 0.5, 1.0  # octaves


def recoloured(images: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Changes brightness, contrast, luma, hue and saturation of float32 [n, H, W, C] in [-1, 1]."""
    brightness = tf.where(draws.chosen(), draws.normal(_BRIGHTNESS), 0.0)
    contrast = tf.where(draws.chosen(), draws.lognormal(_CONTRAST), 1.0)
    flipped = tf.where(draws.chosen(), draws.one_of(2), 0.0)
    angle = tf.where(draws.chosen(), draws.uniform(-math.pi, math.pi), 0.0)
    saturation = tf.where(draws.chosen(), draws.lognormal(_SATURATION), 1.0)
    luma = contrast * (1 - 2 * flipped)
    chroma = contrast * saturation
    turn = luma, luma * brightness, chroma * tf.cos(angle), chroma * tf.sin(angle) / math.sqrt(3)
    factor, offset, along, across = (each[:, None, None, None] for each in turn)
    if images.shape[-1] == 1:
        return factor * images + offset
    colours = images[..., :3]
    mean = tf.reduce_mean(colours, axis=3, keepdims=True)
    rest = along * (colours - mean) + across * (tf.roll(colours, 1, axis=3) - tf.roll(colours, -1, axis=3))
    if images.shape[-1] == 3:
        return factor * mean + offset + rest
    # A colour x in [-1, 1] is stored as alpha (x + 1) - 1, with alpha in [0, 1]. So is what becomes of it.
    alpha = (images[..., 3:] + 1) / 2
    return tf.concat([factor * (mean + 1) + alpha * (offset + 1 - factor) - 1 + rest, images[..., 3:]], axis=3)
