"""Grouped convolutions, which no way of computing them suits on every device.

TensorFlow's own kernel is the fastest wherever it can be differentiated. On CPUs that depends on oneDNN and the type:
there are no gradients of float16, and without oneDNN none at all. XLA compiles it for CPUs into something two hundred
times as slow. One convolution for each group, with the same weights, computes the same there.
"""

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import layers
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext


def grouped_convolution(x: tf.Tensor, kernel: tf.Tensor, strides: int = 1, padding: str = "SAME") -> tf.Tensor:
    """Convolves each group of channels by itself.

    Args:
      x: float [N, H, W, groups * I].
      kernel: float [h, w, I, groups * O].
      strides: along both axes.
      padding: "SAME" or "VALID".

    Returns:
      float [N, H', W', groups * O].
    """
    if compiled_for_cpu() or not differentiable(x.dtype.name):
        groups = x.shape[-1] // kernel.shape[2]
        parts = zip(tf.split(x, groups, axis=-1), tf.split(kernel, groups, axis=-1), strict=True)
        return tf.concat([tf.nn.conv2d(part, own, strides, padding) for part, own in parts], axis=-1)
    return tf.nn.conv2d(x, kernel, strides, padding)


def compiled_for_cpu() -> bool:
    """Whether what is being traced is compiled by XLA, and not for GPUs."""
    graph = tf.compat.v1.get_default_graph()
    return GraphOrParentsInXlaContext(graph) and not tf.config.list_logical_devices("GPU")


@functools.cache
def differentiable(dtype: str) -> bool:
    """Whether TensorFlow's grouped convolutions have gradients here; tries it, outside of what is being traced."""
    given: dict[str, Any] = {"strides": [1, 1, 1, 1], "padding": "SAME"}
    try:
        with tf.init_scope():
            x, kernel = tf.ones([1, 4, 4, 4], dtype), tf.ones([3, 3, 2, 4], dtype)
            y = tf.raw_ops.Conv2D(input=x, filter=kernel, **given)
            tf.raw_ops.Conv2DBackpropInput(input_sizes=x.shape, filter=kernel, out_backprop=y, **given)
            tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=kernel.shape, out_backprop=y, **given)
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError, tf.errors.NotFoundError):
        return False
    return True


@keras.saving.register_keras_serializable(package="mirage")
class GroupedConv2D(layers.Conv2D):
    """Keras's layer, whose kernel is [h, w, I / groups, O], computed as a device does it best; without dilation."""

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """See `grouped_convolution`."""
        return grouped_convolution(inputs, tf.convert_to_tensor(kernel), self.strides[0], self.padding.upper())


def either(native: Callable[..., Any], otherwise: Callable[..., Any], x: tf.Tensor) -> Any:
    """Calls one of two functions that compute the same: one by grouped convolutions, or one without."""
    return (otherwise if compiled_for_cpu() or not differentiable(x.dtype.name) else native)(x)
