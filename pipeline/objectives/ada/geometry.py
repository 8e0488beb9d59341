"""Pixel blitting, and general geometric transformations with one resampling (arXiv 2006.06676, appendix B.1).

Where an image is needed beyond its edges it goes on by reflection. A turn by 90 degrees makes an image of another shape
unless it is a square: others are turned by 180 degrees instead.

Resampling is the paper's: the resolution is doubled by a wavelet, read bilinearly, and halved again by the wavelet's
transpose. All are linear, so that each gradient is one of them or its transpose.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

from pipeline.base.libraries import tf
from pipeline.objectives.ada.draws import Draws, matrix, product

BLIT_NUMBERS, NUMBERS = 7, 11
_SHIFT = 1 / 8  # of the side: the most of a shift by whole pixels, and the standard deviation of one by fractions
_OCTAVES = 0.2  # standard deviation of scales
_MIDDLE = 5.5  # where in a line of doubled resolution the middle of its pixel 0 is


@dataclasses.dataclass(frozen=True)
class Blit:
    """How images are moved in whole pixels: mirrored, then turned, then shifted; float32 [n] each.

    Attributes:
      mirrored: 1 or 0.
      turns: counterclockwise, by 90 degrees each.
      right: pixels.
      down: pixels.
    """

    mirrored: tf.Tensor
    turns: tf.Tensor
    right: tf.Tensor
    down: tf.Tensor


def blitting(draws: Draws, shape: Sequence[int]) -> Blit:
    """Chooses how images [n, H, W, C] are blitted."""
    _, height, width, _ = shape
    mirrored = tf.where(draws.chosen(), draws.one_of(2), 0.0)
    turned = draws.chosen()
    turns = tf.where(turned, draws.one_of(4) if height == width else 2 * draws.one_of(2), 0.0)
    shifted = draws.chosen()
    right, down = (tf.round(draws.uniform(-_SHIFT, _SHIFT) * side) for side in (width, height))
    return Blit(mirrored, turns, tf.where(shifted, right, 0.0), tf.where(shifted, down, 0.0))


def nothing(images: tf.Tensor) -> Blit:
    """Leaves all images as they are."""
    zeros = tf.zeros(images.shape[:1])
    return Blit(zeros, zeros, zeros, zeros)


def moved(images: tf.Tensor, blit: Blit) -> tf.Tensor:
    """Moves the pixels of float32 [n, H, W, C], of which none changes its value."""

    def where(condition: tf.Tensor, one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        return tf.where(condition[:, None, None, None], one, other)

    images = where(blit.mirrored > 0, tf.reverse(images, [2]), images)
    if images.shape[1] == images.shape[2]:
        across = tf.transpose(images, [0, 2, 1, 3])
        quarter = where(blit.turns == 1, tf.reverse(across, [1]), tf.reverse(across, [2]))
        images = where((blit.turns == 1) | (blit.turns == 3), quarter, images)
    images = where(blit.turns == 2, tf.reverse(images, [1, 2]), images)
    for axis, shift in ((1, blit.down), (2, blit.right)):
        size = images.shape[axis]
        most = round(_SHIFT * size)
        if most:
            beyond = tf.pad(images, [[most, most] if other == axis else [0, 0] for other in range(4)], "REFLECT")
            inside = tf.range(most, most + size)
            images = tf.gather(shifted(beyond, most - tf.cast(shift, tf.int32), axis, most), inside, axis=axis)
    return images


def shifted(images: tf.Tensor, shift: tf.Tensor, axis: int, most: int) -> tf.Tensor:
    """Moves each image along an axis, by `most` - `shift` pixels; `shift` is in [0, 2 `most`], and 0 comes in.

    Its gradient moves back. TensorFlow's own would add up into places, which GPUs do slowly if the same bits shall come
    out each time.
    """

    @tf.custom_gradient
    def moved(images: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        padding = [[0, 0] if other != axis else [most, most] for other in range(4)]
        places = shift[:, None] + tf.range(images.shape[axis])
        there = tf.gather(tf.pad(images, padding), places, axis=axis, batch_dims=1)
        return there, lambda gradient: shifted(gradient, 2 * most - shift, axis, most)

    return moved(images)


def general(draws: Draws, shape: Sequence[int], blit: Blit) -> tf.Tensor:
    """Chooses general transformations of images [n, H, W, C], after a blit.

    Returns:
      float32 [n, 3, 3]: from a place (x, y, 1) in the outcome, counted from the middle of the image, to that in the
      image.
    """
    _, height, width, _ = shape
    p_rotation = 1 - tf.sqrt(1 - draws.p)  # so that the probability of either is p
    cosine, sine = tf.abs(blit.turns - 2) - 1, 1 - tf.abs(blit.turns - 1)
    inverses = [
        matrix((1 - 2 * blit.mirrored, 0, 0), (0, 1, 0), (0, 0, 1)),
        matrix((cosine, -sine, 0), (sine, cosine, 0), (0, 0, 1)),
        matrix((1, 0, -blit.right), (0, 1, -blit.down), (0, 0, 1)),
    ]
    isotropic = tf.where(draws.chosen(), draws.lognormal(_OCTAVES), 1.0)
    inverses += [matrix((1 / isotropic, 0, 0), (0, 1 / isotropic, 0), (0, 0, 1)), _rotation(draws, p_rotation)]
    anisotropic = tf.where(draws.chosen(), draws.lognormal(_OCTAVES), 1.0)
    inverses += [matrix((1 / anisotropic, 0, 0), (0, anisotropic, 0), (0, 0, 1)), _rotation(draws, p_rotation)]
    translated = draws.chosen()
    right, down = (tf.where(translated, draws.normal(_SHIFT) * side, 0.0) for side in (width, height))
    inverses.append(matrix((1, 0, -right), (0, 1, -down), (0, 0, 1)))
    return functools.reduce(product, inverses)


def _rotation(draws: Draws, p: tf.Tensor) -> tf.Tensor:
    angle = tf.where(draws.chosen(p), draws.uniform(-math.pi, math.pi), 0.0)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    return matrix((cosine, -sine, 0), (sine, cosine, 0), (0, 0, 1))


def resampled(images: tf.Tensor, inverse: tf.Tensor) -> tf.Tensor:
    """Reads float32 [n, H, W, C] at the places that `general` chose."""
    from pipeline.objectives.ada import wavelets

    _, height, width, _ = images.shape
    there = _along(images, wavelets.upsampling(height), wavelets.upsampling(width))
    there = _looked_up(there, inverse, (height, width))
    return _along(there, wavelets.downsampling(height), wavelets.downsampling(width))


def _along(images: tf.Tensor, of_height: tf.Tensor, of_width: tf.Tensor) -> tf.Tensor:
    """Multiplies each column by one matrix and each row by another, [n, H, W, C] to [n, P, Q, C]."""
    n, height, width, channels = images.shape
    planes = tf.reshape(tf.transpose(images, [0, 3, 1, 2]), [n * channels * height, width])
    planes = tf.reshape(tf.matmul(planes, of_width, transpose_b=True), [n * channels, height, len(of_width)])
    planes = tf.matmul(tf.broadcast_to(of_height, [n * channels, *of_height.shape]), planes)
    planes = tf.reshape(planes, [n, channels, len(of_height), len(of_width)])
    return tf.transpose(planes, [0, 2, 3, 1])


def _looked_up(images: tf.Tensor, inverse: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Reads images of doubled resolution at other places, and at the same of each line in all of them.

    Args:
      images: float32 [n, 4 (H - 1), 4 (W - 1), C], see `wavelets.upsampling`.
      inverse: see `general`.
      size: H and W.

    Returns:
      float32 [n, 2 H + 10, 2 W + 10, C], see `wavelets.downsampling`.
    """

    @tf.custom_gradient
    def there(images: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        return _apart(_read)(images, inverse, size), back

    @tf.custom_gradient
    def back(values: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        return _apart(_put_back)(values, inverse, size), there

    return there(images)


@functools.cache
def _apart(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """On CPUs, has XLA compile a function: it loops over places once, where each operation would write an array."""
    return tf.function(function, jit_compile=None if tf.config.get_visible_devices("GPU") else True)


def _read(images: tf.Tensor, inverse: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    _, *lines, channels = images.shape
    flat = tf.reshape(images, [-1, channels])
    total: tf.Tensor | float = 0.0
    for place, weight in _corners(inverse, size, lines):
        total += tf.gather(flat, place) * weight[..., None]
    return total


def _put_back(values: tf.Tensor, inverse: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """The transpose of `_read`."""
    n, *_, channels = values.shape
    lines = [4 * (side - 1) for side in size]
    corners = _corners(inverse, size, lines)
    # At the place of the first of four corners, for all of them: so places are added up into once.
    parts = tf.stack([values * weight[..., None] for _, weight in corners], axis=3)
    parts = tf.reshape(parts, [-1, 4 * channels])
    sums = tf.math.unsorted_segment_sum(parts, tf.reshape(corners[0][0], [-1]), n * lines[0] * lines[1])
    sums = tf.reshape(sums, [n, *lines, 2, 2, channels])
    rows = sums[..., 0, :, :] + tf.roll(sums[..., 1, :, :], 1, axis=1)
    return rows[..., 0, :] + tf.roll(rows[..., 1, :], 1, axis=2)


def _corners(inverse: tf.Tensor, size: tuple[int, int], lines: Sequence[int]) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Lists the four pixels between which each place lies, that above and left of it first.

    Returns:
      (place int64 [n, P, Q] in all images' pixels one after the other, weight float32 [n, P, Q]) of each.
    """
    n = inverse.shape[0]
    # Counted from the middle of the image, in pixels of doubled resolution.
    y, x = (tf.range(2 * side + 10, dtype=tf.float32) - (_MIDDLE + side - 1) for side in size)
    x, y = x[None, None, :], y[None, :, None]
    by_axis = []
    for row, side, line in ((1, size[0], lines[0]), (0, size[1], lines[1])):
        factors = inverse[:, row, :, None, None]
        there = factors[:, 0] * x + factors[:, 1] * y + (2 * factors[:, 2] + (_MIDDLE + side - 1))
        first = tf.floor(there)
        part = there - first
        first -= line * tf.floor(first / line)
        second = tf.where(first + 1 < line, first + 1, 0.0)
        by_axis.append(((tf.cast(first, tf.int64), 1 - part), (tf.cast(second, tf.int64), part)))
    start = tf.range(n, dtype=tf.int64)[:, None, None] * (lines[0] * lines[1])
    return [
        (start + above * lines[1] + left, upper * lefter) for above, upper in by_axis[0] for left, lefter in by_axis[1]
    ]
