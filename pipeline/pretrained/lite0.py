"""EfficientNet-Lite0, trained on ImageNet (Tan and Le 2019, arXiv 1905.11946).

The Lite form has neither squeeze-and-excitation nor swish. Its batch normalisations are part of its kernels here.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

MEAN, SCALE = 127.0, 128.0  # taken out of pixels of 0 to 255
# Of the stages: how many blocks, and the stride of the first.
_STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))
_LAST = (1, 2, 4, 6)  # stages of the strides 4, 8, 16 and 32
_EPSILON = 1e-3


class Lite0:
    """The network without its last layer; its weights are constants, in the type of what it is given.

    Attributes:
      stem: kernel, as TensorFlow has it, and bias of the first convolution.
      stages: of each, its blocks: expanding convolution or None, depthwise, projecting, and the stride of the second.
      head: of the last convolution.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Takes its weights by PyTorch's names."""
        self.stem = _folded(tensors, "_conv_stem", "_bn0")
        self.head = _folded(tensors, "_conv_head", "_bn1")
        self.stages: list[list[tuple]] = []
        place = 0
        for count, stride in _STAGES:
            self.stages.append([])
            for index in range(count):
                name = f"_blocks.{place}"
                expand = _folded(tensors, f"{name}._expand_conv", f"{name}._bn0") if place else None
                depthwise = _folded(tensors, f"{name}._depthwise_conv", f"{name}._bn1", depthwise=True)
                project = _folded(tensors, f"{name}._project_conv", f"{name}._bn2")
                self.stages[-1].append((expand, depthwise, project, 1 if index else stride))
                place += 1

    def features(self, x: tf.Tensor) -> tf.Tensor:
        """Describes images, float32 [n, H, W, 3], mean and scale taken out, by 1,280 numbers each."""
        return tf.reduce_mean(tf.nn.relu6(_convolved(self._maps(x)[-1], *self.head)), axis=[1, 2])

    def maps(self, x: tf.Tensor) -> list[tf.Tensor]:
        """Returns what it knows of images, as `features` takes them, at strides of 4, 8, 16 and 32.

        Each is [n, ceil(H / stride), ceil(W / stride), C], with C of 24, 40, 112 and 320.
        """
        found = self._maps(x)
        return [found[stage] for stage in _LAST]

    def _maps(self, x: tf.Tensor) -> list[tf.Tensor]:
        """What comes out of each stage."""
        x = tf.nn.relu6(_convolved(x, *self.stem, stride=2))
        found = []
        for blocks in self.stages:
            for expand, (kernel, bias), project, stride in blocks:
                y = x if expand is None else tf.nn.relu6(_convolved(x, *expand))
                y = tf.nn.depthwise_conv2d(y, tf.cast(kernel, y.dtype), [1, stride, stride, 1], "SAME")
                y = _convolved(tf.nn.relu6(tf.nn.bias_add(y, tf.cast(bias, y.dtype))), *project)
                x = x + y if stride == 1 and x.shape[-1] == y.shape[-1] else y
            found.append(x)
        return found


def _convolved(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, stride: int = 1) -> tf.Tensor:
    return tf.nn.bias_add(tf.nn.conv2d(x, tf.cast(kernel, x.dtype), stride, "SAME"), tf.cast(bias, x.dtype))


def _folded(
    tensors: Mapping[str, np.ndarray], convolution: str, norm: str, depthwise: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """A convolution with the batch normalisation behind it, as one kernel and bias."""
    kernel = tensors[f"{convolution}.weight"].astype(np.float64)
    scale = tensors[f"{norm}.weight"] / np.sqrt(tensors[f"{norm}.running_var"].astype(np.float64) + _EPSILON)
    bias = tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * scale
    kernel = (kernel * scale[:, None, None, None]).transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    return tf.constant(kernel, tf.float32), tf.constant(bias, tf.float32)
