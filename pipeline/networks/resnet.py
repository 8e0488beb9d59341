"""A residual pair after R3GAN (Huang et al. 2024, arXiv 2501.05441, section 4), for 16 to 128 pixels.

No normalisation: residual blocks whose last convolution starts at zero, and whose others start smaller the
more blocks there are (fix-up initialisation, Zhang et al. 2019, arXiv 1901.09321). Resampling interpolates, and
activations are LeakyReLU(0.2) in both networks. Scaled down: widths are those of `dcgan.py`, a block
narrows to half its width instead of widening it in groups, and the generator ends in tanh as all of ours do.
"""

from collections.abc import Callable

import keras
from keras import layers

from pipeline.networks.conditioning import image_planes, latent_inputs, model_of
from pipeline.networks.pyramid import base, crop, doublings, width

_BLOCKS = 2  # at each size
_SLOPE = 0.2
# Variance that a layer must gain to make up for the LeakyReLU after it (He et al. 2015, arXiv 1502.01852).
_GAIN = 2 / (1 + _SLOPE**2)


def build_generator(
    latent_dim: int, image_shape: tuple[int, int, int], num_classes: int, width: Callable[[int], int] = width
) -> keras.Model:
    """A dense projection, residual blocks between bilinear doublings, then a 3x3 convolution.

    Args:
      latent_dim: components of `z`.
      image_shape: (height, width, channels) of the output; square.
      num_classes: number of labels; 0 builds an unconditional network.
      width: gives the feature planes at a level, of which 0 is the outermost.

    Returns:
      See `pipeline.networks.build.build_generator`.
    """
    size, _, channels = image_shape
    levels = doublings(size)
    inputs, x = latent_inputs(latent_dim, num_classes)
    x = layers.Dense(base(size) ** 2 * width(levels), kernel_initializer=_initializer(1.0))(x)
    x = layers.Reshape([base(size), base(size), width(levels)])(x)
    blocks = _BLOCKS * (levels + 1)
    x = _stage(x, blocks)
    for level in reversed(range(levels)):
        x = layers.UpSampling2D(2, interpolation="bilinear")(_fit(x, width(level)))
        x = _stage(x, blocks)
    image = layers.Conv2D(channels, 3, padding="same", activation="tanh")(crop(x, size))
    return model_of(inputs, image, "generator")


def build_features(
    image_shape: tuple[int, int, int], num_classes: int, width: Callable[[int], int] = width
) -> tuple[list[keras.KerasTensor], keras.KerasTensor]:
    """Residual blocks between averaging halvings down to at most 4 pixels.

    Args:
      image_shape: (height, width, channels) of the input; square.
      num_classes: number of labels, which enter as constant planes; 0 leaves them out.
      width: see `build_generator`.

    Returns:
      See `pipeline.networks.build.build_features`.
    """
    size, _, _ = image_shape
    inputs, x = image_planes(image_shape, num_classes)
    halvings = 0
    while size > 4:
        size, halvings = (size + 1) // 2, halvings + 1
    blocks = _BLOCKS * (halvings + 1)
    x = layers.Conv2D(width(0), 3, padding="same", kernel_initializer=_initializer(1.0))(x)
    x = _stage(x, blocks)
    for level in range(1, halvings + 1):
        x = layers.AveragePooling2D(2, padding="same")(x)
        x = _stage(_fit(x, width(level)), blocks)
    return inputs, layers.Flatten()(x)


def _stage(x: keras.KerasTensor, blocks: int) -> keras.KerasTensor:
    """The blocks at one size: x + conv1x1(conv3x3(conv1x1(x))), activated in between."""
    outer = x.shape[-1]
    scale = _GAIN * blocks**-0.5  # of variances: the standard deviations' blocks^(-1/4)
    for _ in range(_BLOCKS):
        y = layers.Conv2D(outer // 2, 1, kernel_initializer=_initializer(scale))(x)
        y = layers.LeakyReLU(negative_slope=_SLOPE)(y)
        y = layers.Conv2D(outer // 2, 3, padding="same", kernel_initializer=_initializer(scale))(y)
        y = layers.LeakyReLU(negative_slope=_SLOPE)(y)
        y = layers.Conv2D(outer, 1, use_bias=False, kernel_initializer="zeros")(y)
        x = layers.Add()([x, y])
    return x


def _fit(x: keras.KerasTensor, planes: int) -> keras.KerasTensor:
    """Changes the number of planes where it differs."""
    if x.shape[-1] == planes:
        return x
    return layers.Conv2D(planes, 1, use_bias=False, kernel_initializer=_initializer(1.0))(x)


def _initializer(scale: float) -> keras.initializers.Initializer:
    return keras.initializers.VarianceScaling(scale, mode="fan_in", distribution="untruncated_normal")
