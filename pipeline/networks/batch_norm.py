"""Batch normalisation over the global batch (Ioffe and Szegedy 2015, arXiv 1502.03167)."""

import tensorflow as tf
from keras import layers


class BatchNormalization(layers.BatchNormalization):
    """Keras's layer, with a training step of its own: synchronised over replicas, exact, and fast.

    Keras's `synchronized=True` computes the variance as E[x²] - E[x]², which cancels where the mean is
    large, in three reductions forward and two backward. Here each replica computes mean and variance
    of its share, and one reduction combines them without loss. Every replica must have the same
    number of samples. On one replica TensorFlow's fused kernel takes over where it is faster.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: None = None) -> tf.Tensor:
        """Normalises.

        Args:
          inputs: [N, ..., C].
          training: whether to use the statistics of the global batch and move the averages; otherwise
            the averages are used, as in Keras.
          mask: must be None.

        Returns:
          Of the same shape and type.
        """
        if not training or not tf.is_tensor(inputs):
            return super().call(inputs, training=training, mask=mask)
        channels = inputs.shape[-1]
        scale = tf.convert_to_tensor(self.gamma.value) if self.scale else tf.ones([channels])
        offset = tf.convert_to_tensor(self.beta.value) if self.center else tf.zeros([channels])
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync == 1 and len(inputs.shape) == 4:
            outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
                inputs, scale, offset, epsilon=self.epsilon, is_training=True
            )
            count = tf.cast(tf.size(inputs) / tf.shape(inputs)[-1], tf.float32)
            variance *= (count - 1) / count  # it returns the unbiased estimate; Keras averages the biased one
        else:
            outputs, mean, variance = normalise(tf.cast(inputs, tf.float32), scale, offset, self.epsilon, context)
        for average, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            average.assign(self.momentum * average.value + (1 - self.momentum) * value)
        return tf.cast(outputs, inputs.dtype)


def normalise(
    x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float, context: tf.distribute.ReplicaContext
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalises a replica's share of a batch by the statistics of the whole.

    Args:
      x: float32 [N, ..., C].
      scale: [C].
      offset: [C].
      epsilon: added to the variance.
      context: of the replica.

    Returns:
      (x normalised, mean [C], variance [C]), the latter two over all replicas.
    """
    rows = tf.reshape(x, [-1, x.shape[-1]])
    mean = _mean(rows)
    centred = rows - mean
    variance = _mean(tf.square(centred))
    if context.num_replicas_in_sync > 1:
        shared, variance = _over_replicas(mean, variance, context)
        centred += mean - shared
        mean = shared
    outputs = centred * (tf.math.rsqrt(variance + epsilon) * scale) + offset
    return tf.reshape(outputs, tf.shape(x)), mean[0], variance[0]


def _mean(rows: tf.Tensor) -> tf.Tensor:
    """Returns the mean over rows, [1, C]."""
    if tf.config.get_visible_devices("GPU"):  # whose products of matrices round to TF32
        return tf.reduce_mean(rows, 0, keepdims=True)
    # As a product of matrices, because reductions over all but the last axis are slow on CPUs.
    count = rows.shape[0] or tf.shape(rows)[0]
    return tf.matmul(tf.fill([1, count], 1.0 / tf.cast(count, tf.float32)), rows)


def _over_replicas(
    mean: tf.Tensor, variance: tf.Tensor, context: tf.distribute.ReplicaContext
) -> tuple[tf.Tensor, tf.Tensor]:
    """Combines each replica's mean and variance [1, C], in one reduction whose size doesn't grow with their number.

    In float64, where E[x²] - E[x]² loses less than the inputs' own rounding to float32, however large the mean.
    """
    first, second = tf.cast(mean, tf.float64), tf.cast(variance, tf.float64)
    moments = tf.concat([first, second + tf.square(first)], 0) / context.num_replicas_in_sync
    moments = context.all_reduce(tf.distribute.ReduceOp.SUM, moments)
    shared = moments[:1]
    # Of a constant rounding may leave less than nothing.
    combined = tf.maximum(moments[1:] - tf.square(shared), 0.0)
    return tf.cast(shared, tf.float32), tf.cast(combined, tf.float32)
