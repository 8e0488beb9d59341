"""A label's share of a discriminator's logit (Miyato and Koyama 2018, arXiv 1802.05637)."""

from typing import Any

import keras
import tensorflow as tf
from keras import layers


@keras.saving.register_keras_serializable(package="mirage")
class Projection(layers.Layer):
    """The product of features and an embedding of the label, [N]; of attributes, a linear function of their code."""

    def __init__(self, num_classes: int, **of_every_layer: Any) -> None:
        """Takes the number of classes or of attributes, and what Keras gives to any layer that it builds anew."""
        super().__init__(**of_every_layer)
        self._num_classes = num_classes

    def build(self, features_shape: tuple[int, ...], label_shape: tuple[int, ...]) -> None:
        """Creates the embeddings, zero at first: to begin with, D judges without regard to the label."""
        del label_shape
        self.embeddings = self.add_weight(
            shape=[self._num_classes, features_shape[-1]], initializer="zeros", name="embeddings"
        )

    def call(self, features: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        """Takes features float [N, F] and labels int32 [N], or codes of attributes, float [N, A]."""
        if len(label.shape) == 2:
            return keras.ops.sum(features * keras.ops.matmul(label, self.embeddings), axis=-1)
        return keras.ops.sum(features * keras.ops.take(self.embeddings, label, axis=0), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor takes."""
        return {**super().get_config(), "num_classes": self._num_classes}
