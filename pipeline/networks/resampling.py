"""Layers that double and halve pictures by the filter [1, 2, 1] in each direction, linear interpolation.

As StyleGAN's resampling places pixels: of twice as many, those with odd numbers are the ones that were there, and those
with even numbers lie in the middle of two; of half as many, each is the weighted mean of three around an even number.
Outside of the picture all is 0.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from pipeline.networks.grouped import either, grouped_convolution

_FILTER = np.outer([1, 2, 1], [1, 2, 1])[:, :, None, None]  # its factors are powers of two: exact in any type


class _Resampling(layers.Layer):
    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Takes and returns pictures [N, H, W, C]."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """See Keras."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="mirage")
class Doubling(_Resampling):
    """Twice as many pixels in each direction, [N, H, W, C] to [N, 2H, 2W, C]."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """See the class."""
        return either(_doubled, _doubled_by_sums, inputs)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """See Keras."""
        count, height, width, channels = input_shape
        return count, 2 * height, 2 * width, channels


@keras.saving.register_keras_serializable(package="mirage")
class Halving(_Resampling):
    """Half as many pixels in each direction, rounded up, [N, H, W, C] to [N, ceil(H/2), ceil(W/2), C]."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """See the class."""
        return either(_halved, _halved_by_sums, inputs)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """See Keras."""
        count, height, width, channels = input_shape
        return count, (height + 1) // 2, (width + 1) // 2, channels


def _kernel(x: tf.Tensor, total: int) -> tf.Tensor:
    return tf.constant(np.tile(_FILTER * (total / _FILTER.sum()), [1, 1, 1, x.shape[-1]]), x.dtype)


def _doubled(x: tf.Tensor) -> tf.Tensor:
    """Zeros before each pixel and each row, and a convolution; LiteRT has no padding of more than five axes."""
    _, height, width, channels = x.shape
    row = 2 * width * channels
    apart = tf.reshape(tf.pad(x, [[0, 0], [0, 0], [0, 0], [channels, 0]]), [-1, height, row])
    apart = tf.reshape(tf.pad(apart, [[0, 0], [0, 0], [row, 0]]), [-1, 2 * height, 2 * width, channels])
    return grouped_convolution(apart, _kernel(x, 4))


def _halved(x: tf.Tensor) -> tf.Tensor:
    padding = [[0, 0], [1, x.shape[1] % 2], [1, x.shape[2] % 2], [0, 0]]
    return grouped_convolution(tf.pad(x, padding), _kernel(x, 1), 2, "VALID")


def _doubled_by_sums(x: tf.Tensor) -> tf.Tensor:
    for axis in (1, 2):
        between = 0.5 * (x + _moved(x, axis))
        sizes = [size or -1 for size in x.shape]
        sizes[axis] *= 2
        x = tf.reshape(tf.stack([between, x], axis + 1), sizes)
    return x


def _halved_by_sums(x: tf.Tensor) -> tf.Tensor:
    for axis in (1, 2):
        if x.shape[axis] % 2:
            x = tf.pad(x, [[0, int(other == axis)] for other in range(4)])
        sizes = [size or -1 for size in x.shape]
        sizes[axis : axis + 1] = [sizes[axis] // 2, 2]
        even, odd = tf.unstack(tf.reshape(x, sizes), axis=axis + 1)
        x = 0.5 * even + 0.25 * (odd + _moved(odd, axis))
    return x


def _moved(x: tf.Tensor, axis: int) -> tf.Tensor:
    """Each pixel's neighbour before it; before the first there is 0."""
    first = [int(other == axis) for other in range(4)]
    kept = [slice(None)] * axis + [slice(0, x.shape[axis])]
    return tf.pad(x, [[size, 0] for size in first])[tuple(kept)]
