"""Layers whose weights start at unit variance and are scaled when they are used (Karras et al. 2017, arXiv 1710.10196).

So Adam, whose steps don't depend on a gradient's size, moves all layers equally fast. Activated ones end in
LeakyReLU(0.2) times √2, which keeps the second moment of standard normal numbers. As that is homogeneous, √2 is applied
to the weights before.
"""

import math
from typing import Any

import keras
import tensorflow as tf
from keras import initializers, layers

from pipeline.networks.stylegan2.resampling import blur, halve, pad

SLOPE = 0.2
GAIN = math.sqrt(2)
_LARGEST = 256.0


def activate(x: tf.Tensor) -> tf.Tensor:
    """LeakyReLU, cut off at 256 where numbers are float16, whose largest is 65504."""
    return cut_off(tf.nn.leaky_relu(x, SLOPE))


def cut_off(x: tf.Tensor) -> tf.Tensor:
    """Keeps float16 numbers in [-256, 256]; others stay as they are."""
    return tf.clip_by_value(x, -_LARGEST, _LARGEST) if x.dtype == tf.float16 else x


@keras.saving.register_keras_serializable(package="mirage")
class EqualisedDense(layers.Layer):
    """A dense layer."""

    def __init__(self, units: int, *, activated: bool = False, rate: float = 1.0, **of_every_layer: Any) -> None:
        """Describes the layer.

        Args:
          units: numbers that it returns.
          activated: whether it ends in an activation.
          rate: factor of its learning rate: weights start so many times larger and count so many times less.
          **of_every_layer: such as `dtype`.
        """
        super().__init__(**of_every_layer)
        self._units, self._activated, self._rate = units, activated, rate

    def build(self, shape: tuple[int, ...]) -> None:
        """Creates kernel and bias."""
        start = initializers.RandomNormal(stddev=1 / self._rate)
        self.kernel = self.add_weight(shape=[shape[-1], self._units], initializer=start, name="kernel")
        self.bias = self.add_weight(shape=[self._units], initializer="zeros", name="bias")
        self._scale = (GAIN if self._activated else 1.0) * self._rate

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Takes numbers, [N, F]."""
        kernel = self.kernel * (self._scale / math.sqrt(self.kernel.shape[0]))
        x = tf.nn.bias_add(tf.matmul(x, kernel), self.bias * self._scale)
        return activate(x) if self._activated else x

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor takes."""
        own = {"units": self._units, "activated": self._activated, "rate": self._rate}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="mirage")
class EqualisedConv(layers.Layer):
    """A convolution, which may halve the picture."""

    def __init__(
        self,
        planes: int,
        size: int,
        *,
        halves: bool = False,
        activated: bool = True,
        gain: float = 1.0,
        **of_every: Any,
    ) -> None:
        """Describes the layer.

        Args:
          planes: feature planes that it returns.
          size: of its kernel, in pixels; odd.
          halves: whether it halves height and width, which are even.
          activated: whether it adds a bias and ends in an activation.
          gain: factor of what it returns.
          **of_every: what every layer takes, such as `dtype`.
        """
        super().__init__(**of_every)
        self._planes, self._size, self._halves, self._activated, self._gain = planes, size, halves, activated, gain

    def build(self, shape: tuple[int, ...]) -> None:
        """Creates the kernel and, if it is activated, the bias."""
        kernel = [self._size, self._size, shape[-1], self._planes]
        self.kernel = self.add_weight(shape=kernel, initializer=initializers.RandomNormal(stddev=1.0), name="kernel")
        self._scale = self._gain
        if self._activated:
            self.bias = self.add_weight(shape=[self._planes], initializer="zeros", name="bias")
            self._scale *= GAIN

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Takes pictures, [N, H, W, C]."""
        kernel = self.kernel * (self._scale / math.sqrt(math.prod(self.kernel.shape[:3])))
        if not self._halves:
            x = tf.nn.conv2d(x, kernel, 1, "SAME")
        elif self._size == 1:
            x = tf.nn.conv2d(halve(x), kernel, 1, "VALID")
        else:
            # Filtered before every second pixel is left out; as many borders as the kernel and the filter need.
            x = tf.nn.conv2d(blur(pad(x, self._size // 2 + 1)), kernel, 2, "VALID")
        return activate(tf.nn.bias_add(x, self.bias * self._scale)) if self._activated else x

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor takes."""
        own = {"planes": self._planes, "size": self._size, "halves": self._halves}
        return {**super().get_config(), **own, "activated": self._activated, "gain": self._gain}
