"""A small picture that is learned: to begin with, or to look for."""

from typing import Any

import keras
import tensorflow as tf
from keras import layers


@keras.saving.register_keras_serializable(package="mirage")
class LearnedBasis(layers.Layer):
    """Learned planes, each times a number, [N, C] to [N, height, width, C]."""

    def __init__(self, size: tuple[int, int], **of_every_layer: Any) -> None:
        """Takes (height, width), and what Keras gives to any layer that it builds anew."""
        super().__init__(**of_every_layer)
        self._size = tuple(size)

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Creates the planes, standard normal."""
        self.basis = self.add_weight(
            shape=[*self._size, input_shape[-1]], initializer=keras.initializers.RandomNormal(stddev=1.0), name="basis"
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """See the class."""
        return inputs[:, None, None, :] * self.basis

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """See Keras."""
        return input_shape[0], *self._size, input_shape[-1]

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor takes."""
        return {**super().get_config(), "size": self._size}


@keras.saving.register_keras_serializable(package="mirage")
class WeightedSum(layers.Layer):
    """Sums each plane with learned weights, [N, H, W, C] to [N, C]: a depthwise convolution that leaves one pixel.

    TensorFlow's own has no gradient that GPUs compute the same way each time.
    """

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Creates the weights, for a sum of the variance of what is summed."""
        _, height, width, channels = input_shape
        initializer = keras.initializers.RandomNormal(stddev=(height * width) ** -0.5)
        self.kernel = self.add_weight(shape=[height, width, channels], initializer=initializer, name="kernel")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """See the class."""
        return keras.ops.sum(inputs * self.kernel, axis=(1, 2))

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """See Keras."""
        return input_shape[0], input_shape[-1]
