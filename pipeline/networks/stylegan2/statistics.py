"""Layers that look at more than one number, or more than one sample, at once."""

import math
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from pipeline.base.errors import MirageError

_EPSILON = 1e-8


@keras.saving.register_keras_serializable(package="mirage")
class UnitSecondMoment(layers.Layer):
    """Divides each sample's numbers, [N, F], by the root of the mean of their squares."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Takes numbers, [N, F]."""
        return x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), axis=1, keepdims=True) + _EPSILON)


@keras.saving.register_keras_serializable(package="mirage")
class Styles(layers.Layer):
    """One style for all layers of the synthesis, [N, W] to [N, L, W]; keeps their running mean.

    The mean, over all replicas' samples of each call in training, is what truncation goes towards (Karras et al. 2018,
    arXiv 1812.04948, appendix B). It has no effect on training.
    """

    def __init__(self, count: int, *, momentum: float = 0.998, **of_every_layer: Any) -> None:
        """Takes how many layers there are, and the share of itself that the mean keeps each time."""
        super().__init__(**of_every_layer)
        self._count, self._momentum = count, momentum

    def build(self, shape: tuple[int, ...]) -> None:
        """Creates the mean."""
        self.mean = self.add_weight(shape=[shape[-1]], initializer="zeros", trainable=False, name="mean")

    def call(self, w: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Takes one style for each sample, [N, W]."""
        if training:
            mean = tf.convert_to_tensor(self.mean.value)
            self.mean.assign(mean + (1 - self._momentum) * (_global_mean(tf.stop_gradient(w)) - mean))
        return tf.tile(w[:, None], [1, self._count, 1])

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor takes."""
        return {**super().get_config(), "count": self._count, "momentum": self._momentum}


def _global_mean(values: tf.Tensor) -> tf.Tensor:
    context = tf.distribute.get_replica_context()
    mean = tf.reduce_mean(values, axis=0)
    if context is None or context.num_replicas_in_sync == 1:
        return mean
    return context.all_reduce(tf.distribute.ReduceOp.SUM, mean) / context.num_replicas_in_sync


@keras.saving.register_keras_serializable(package="mirage")
class MinibatchDeviation(layers.Layer):
    """Tells D how different its pictures are (Karras et al. 2017, arXiv 1710.10196, section 3).

    Adds a plane that holds the standard deviation over a group of pictures, averaged over pixels and planes. A group
    are neighbours in the batch, so that it lies within one replica's share, and is the same on any number of replicas.
    """

    def __init__(self, group: int, **of_every_layer: Any) -> None:
        """Takes how many pictures make a group."""
        super().__init__(**of_every_layer)
        self._group = group

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Takes features, [N, H, W, C]."""
        height, width, planes = x.shape[1:]
        if x.shape[0] is not None and x.shape[0] % self._group:
            raise MirageError(
                f"the discriminator compares pictures in groups of {self._group}, and {x.shape[0]} on each replica "
                f"can't be divided so; choose --batch_size as a multiple of {self._group} times the replicas, or "
                "another group in --model_args, such as group=2."
            )
        groups = tf.reshape(x, [-1, self._group, height, width, planes])
        variance = tf.reduce_mean(tf.square(groups - tf.reduce_mean(groups, axis=1, keepdims=True)), axis=1)
        deviation = tf.reduce_mean(tf.sqrt(variance + _EPSILON), axis=[1, 2, 3])  # [groups]
        plane = deviation[:, None, None, None, None] * tf.ones([self._group, height, width, 1])
        return tf.concat([x, tf.reshape(plane, [-1, height, width, 1])], axis=3)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor takes."""
        return {**super().get_config(), "group": self._group}


@keras.saving.register_keras_serializable(package="mirage")
class Product(layers.Layer):
    """The product of features and of what a label is mapped to, over the root of their number, [N, 1]."""

    def call(self, features: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        """Takes both, [N, F]."""
        return tf.reduce_sum(features * label, axis=1, keepdims=True) / math.sqrt(features.shape[-1])
