"""Layers of a discriminator that sees pictures as a network does that others have trained."""

import math
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from pipeline.pretrained.lite0 import MEAN, SCALE, Lite0
from pipeline.pretrained.lite0_file import weights_file
from pipeline.pretrained.torch_file import read_tensors

OTHERWISE = "choose another --discriminator"


@keras.saving.register_keras_serializable(package="mirage")
class PretrainedMaps(layers.Layer):
    """What EfficientNet-Lite0 knows of pictures: its maps at strides of 4, 8, 16 and 32.

    Its weights are none of this layer's: they are never trained, and come out of their package whenever it is built.
    """

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Reads the weights; raises MirageError if they are not installed, or damaged."""
        tensors = read_tensors(weights_file("--discriminator=projected", OTHERWISE))
        with tf.init_scope():  # constants of no graph, so that each refers to the same ones
            self._network = Lite0(tensors)

    def call(self, images: tf.Tensor) -> list[tf.Tensor]:
        """Takes images in [-1, 1], grey, RGB, or with colours multiplied by alpha, which are laid over white."""
        channels = images.shape[-1]
        if channels == 4:
            images = images[..., :3] + (1 - images[..., 3:])
        elif channels != 3:
            images = tf.repeat(images, 3, axis=-1)
        half = 255 / 2
        return self._network.maps(images * (half / SCALE) + (half - MEAN) / SCALE)


@keras.saving.register_keras_serializable(package="mirage")
class MapProjection(layers.Layer):
    """A label's share of each place's logit, [N, H, W, 1]: its planes' product with what the label is mapped to."""

    def call(self, x: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        """Takes planes, [N, H, W, C], and [N, C]."""
        return tf.reduce_sum(x * label[:, None, None, :], axis=3, keepdims=True) / math.sqrt(x.shape[-1])

    def compute_output_shape(self, x_shape: tuple[Any, ...], label_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """See Keras."""
        del label_shape
        return *x_shape[:3], 1
