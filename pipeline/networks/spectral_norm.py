"""Spectral normalisation of a discriminator's layers (Miyato et al. 2018, arXiv 1802.05957)."""

import keras
import tensorflow as tf
from keras import layers


@keras.saving.register_keras_serializable(package="mirage")
class SpectralNormalization(layers.Wrapper):
    """Divides a linear layer's kernel W, as a matrix, by its largest singular value.

    Each training step improves an estimate u of the first left singular vector by one power iteration
    (algorithm 1 of the paper); sigma = u' W v, with u and v held constant, so that gradients pass through W.
    Keras's wrapper of this name overwrites the kernel instead, and no gradient passes through sigma.
    """

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Builds the layer, and u at random."""
        super().build(input_shape)
        self.u = self.add_weight(
            shape=[1, self.layer.kernel.shape[-1]],
            initializer=keras.initializers.RandomNormal(stddev=1.0),
            trainable=False,
            # All replicas compute the same from the same kernel, so that each may assign it to its own copy.
            aggregation="none",
            name="u",
        )

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Applies the layer with its normalised kernel; see the layer for shapes."""
        outputs = self.layer(inputs)
        sigma = tf.cast(self._sigma(bool(training)), outputs.dtype)
        if not self.layer.use_bias:
            return outputs / sigma
        bias = tf.cast(self.layer.bias, outputs.dtype)
        return (outputs - bias) / sigma + bias

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The layer's own."""
        return self.layer.compute_output_shape(input_shape)

    def _sigma(self, training: bool) -> tf.Tensor:
        kernel = tf.convert_to_tensor(self.layer.kernel.value)
        matrix = tf.reshape(kernel, [-1, kernel.shape[-1]])  # [inputs, outputs]
        constant = tf.stop_gradient(matrix)
        u = tf.convert_to_tensor(self.u.value)
        v = tf.math.l2_normalize(tf.matmul(u, constant, transpose_b=True))  # [1, inputs]
        u = tf.math.l2_normalize(tf.matmul(v, constant))
        if training:
            self.u.assign(u)
        return tf.reduce_sum(tf.matmul(v, matrix) * u)


def normalised(model: keras.Model) -> keras.Model:
    """Builds a model anew with all of its dense and convolutional layers normalised."""

    def clone(layer: layers.Layer) -> layers.Layer:
        copy = type(layer).from_config(layer.get_config())
        return SpectralNormalization(copy) if isinstance(layer, (layers.Conv2D, layers.Dense)) else copy

    return keras.models.clone_model(model, clone_function=clone)
