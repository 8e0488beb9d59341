"""Layers and models of somebody's own, in tf-keras; imported in other processes only."""

import tensorflow as tf
import tf_keras
from tf_keras import layers


@tf_keras.utils.register_keras_serializable(package="Addons")
class InstanceNormalization(layers.Layer):
    """As that of tensorflow_addons."""

    def build(self, shape):
        self.gamma = self.add_weight(name="gamma", shape=[shape[-1]], initializer="ones")

    def call(self, x):
        mean, variance = tf.nn.moments(x, [1, 2], keepdims=True)
        return (x - mean) * tf.math.rsqrt(variance + 1e-3) * self.gamma


def network(*more):
    return tf_keras.Sequential(
        [
            layers.Dense(4 * 4 * 2, input_dim=8),
            layers.Reshape((4, 4, 2)),
            *more,
            layers.UpSampling2D(),
            layers.Conv2D(1, 3, padding="same"),
            layers.Activation("tanh"),
        ]
    )
