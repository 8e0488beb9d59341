"""The layers of the synthesis: what each style scales.

A convolution whose kernel is scaled by a style and then normalised (section 2.2) is computed as one that is not: its
input is scaled by the style, and its output by what the kernel's norm would have been,

    d_j = (Σ_i s_i² Σ_hw w_hwij² + ε)^(-1/2),

so that all pictures share one kernel, on every device and in every exported format.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import initializers, layers

from pipeline.networks.random_layers import draw
from pipeline.networks.stylegan2.equalised import GAIN, activate, cut_off
from pipeline.networks.stylegan2.resampling import blur, pad

_EPSILON = 1e-8
_SIZE = 3  # of the kernels


@keras.saving.register_keras_serializable(package="mirage")
class LearnedConstant(layers.Layer):
    """The smallest picture, the same for all."""

    def __init__(self, shape: tuple[int, int, int], **of_every_layer: Any) -> None:
        """Takes (height, width, planes)."""
        super().__init__(**of_every_layer)
        self._shape = tuple(shape)

    def build(self, shape: tuple[int, ...]) -> None:
        """Creates it, standard normal."""
        del shape
        normal = initializers.RandomNormal(stddev=1.0)
        self.constant = self.add_weight(shape=self._shape, initializer=normal, name="constant")

    def call(self, styles: tf.Tensor) -> tf.Tensor:
        """Repeats it for each of the styles, [N, L, W]."""
        # Not by tiling, whose gradient XLA can't compile in a branch.
        return tf.convert_to_tensor(self.constant)[None] * tf.ones_like(styles[:, 0, :1])[..., None, None]

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor takes."""
        return {**super().get_config(), "shape": self._shape}


class _Modulated(layers.Layer):
    """What scales its input by one of the styles. Style and normalisation are computed in float32."""

    def __init__(self, style: int, **of_every_layer: Any) -> None:
        super().__init__(autocast=False, **of_every_layer)
        self._style = style

    def _weight(self, name: str, shape: Sequence[int], start: Any = "normal", *, trainable: bool = True) -> Any:
        start = initializers.RandomNormal(stddev=1.0) if start == "normal" else start
        return self.add_weight(shape=shape, initializer=start, trainable=trainable, autocast=False, name=name)

    def _build_style(self, planes: int, width: int) -> None:
        self.affine_kernel = self._weight("affine_kernel", [width, planes])
        self.affine_bias = self._weight("affine_bias", [planes], "ones")

    def _scales(self, styles: tf.Tensor) -> tf.Tensor:
        """Factors of the input's planes, float32 [N, C]."""
        kernel = self.affine_kernel * (1 / math.sqrt(self.affine_kernel.shape[0]))
        return tf.nn.bias_add(tf.matmul(tf.cast(styles[:, self._style], tf.float32), kernel), self.affine_bias)

    def _scaled(self, x: tf.Tensor, by: tf.Tensor) -> tf.Tensor:
        return tf.cast(x, self.compute_dtype) * tf.cast(by, self.compute_dtype)[:, None, None, :]

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor takes."""
        config = super().get_config()
        config.pop("autocast", None)
        return {**config, "style": self._style}


@keras.saving.register_keras_serializable(package="mirage")
class StyledConv(_Modulated):
    """A modulated and demodulated 3x3 convolution, noise, bias and activation; it may double the picture.

    The noise is one number for each pixel, the same for all planes, times a strength that is learned and starts at 0.
    In training it is drawn for each picture each time; otherwise it is a plane that was drawn once and is kept among
    the weights, so that pictures are functions of their styles.
    """

    def __init__(self, planes: int, style: int, *, doubles: bool = False, **of_every_layer: Any) -> None:
        """Takes the number of planes, which of the styles is this layer's, and whether it doubles height and width."""
        super().__init__(style, **of_every_layer)
        self._planes, self._doubles = planes, doubles

    def build(self, x_shape: tuple[int, ...], styles_shape: tuple[int, ...]) -> None:
        """Creates the weights."""
        inner = x_shape[-1]
        self._build_style(inner, styles_shape[-1])
        # In the order that the operation takes.
        ends = [self._planes, inner] if self._doubles else [inner, self._planes]
        self.kernel = self._weight("kernel", [_SIZE, _SIZE, *ends])
        self.bias = self._weight("bias", [self._planes], "zeros")
        self.strength = self._weight("noise_strength", [], "zeros")
        size = [side * (2 if self._doubles else 1) for side in x_shape[1:3]]
        self.noise = self._weight("noise", [*size, 1], trainable=False)

    def call(self, x: tf.Tensor, styles: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Takes features [N, H, W, C] and styles [N, L, W]."""
        kernel = self.kernel * (1 / (_SIZE * math.sqrt(x.shape[-1])))
        scales = self._scales(styles)
        if self.compute_dtype == "float16":
            # Which the normalisation takes out again, and sums of large numbers would overflow.
            scales /= tf.stop_gradient(tf.reduce_max(tf.abs(scales), axis=1, keepdims=True) + _EPSILON)
        norms = tf.reduce_sum(tf.square(kernel), axis=[0, 1])
        sums = tf.matmul(tf.square(scales), norms, transpose_b=self._doubles)
        x = self._convolved(self._scaled(x, scales), tf.cast(kernel, self.compute_dtype))
        # Doubling put zeros where three of four pixels are.
        x = self._scaled(x, tf.math.rsqrt(sums + _EPSILON) * (4 * GAIN if self._doubles else GAIN))
        noise = draw("normal", self, x, [None, None, None, 1]) if training else tf.convert_to_tensor(self.noise)[None]
        x += tf.cast(noise * (self.strength * GAIN), x.dtype)
        return activate(tf.nn.bias_add(x, tf.cast(self.bias * GAIN, x.dtype)))

    def _convolved(self, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        if not self._doubles:
            return tf.nn.conv2d(x, kernel, 1, "SAME")
        size = [2 * side + 1 for side in x.shape[1:3]]
        x = tf.nn.conv2d_transpose(x, kernel, [tf.shape(x)[0], *size, self._planes], 2, "VALID")
        return blur(pad(tf.ensure_shape(x, [None, *size, self._planes]), 1))

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor takes."""
        return {**super().get_config(), "planes": self._planes, "doubles": self._doubles}


@keras.saving.register_keras_serializable(package="mirage")
class ToImage(_Modulated):
    """A modulated 1x1 convolution without normalisation, noise and activation, to the channels of a picture."""

    def __init__(self, channels: int, style: int, **of_every_layer: Any) -> None:
        """Takes the number of channels, and which of the styles is this layer's."""
        super().__init__(style, **of_every_layer)
        self._channels = channels

    def build(self, x_shape: tuple[int, ...], styles_shape: tuple[int, ...]) -> None:
        """Creates the weights."""
        self._build_style(x_shape[-1], styles_shape[-1])
        self.kernel = self._weight("kernel", [1, 1, x_shape[-1], self._channels])
        self.bias = self._weight("bias", [self._channels], "zeros")

    def call(self, x: tf.Tensor, styles: tf.Tensor) -> tf.Tensor:
        """Takes features [N, H, W, C] and styles [N, L, W]."""
        scales = self._scales(styles) * (1 / math.sqrt(x.shape[-1]))
        x = tf.nn.conv2d(self._scaled(x, scales), tf.cast(self.kernel, self.compute_dtype), 1, "SAME")
        return cut_off(tf.nn.bias_add(x, tf.cast(self.bias, x.dtype)))

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor takes."""
        return {**super().get_config(), "channels": self._channels}
