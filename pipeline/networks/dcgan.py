"""A convolutional pair after DCGAN (Radford et al. 2015, arXiv 1511.06434), for 16 to 128 pixels.

The generator projects the latent to a small picture of 4 to 7 pixels, doubles it with transposed
convolutions and crops what exceeds the image size. The discriminator halves the image with strided
convolutions. Depth follows from the image size; widths double inwards from 32, up to 512. As in the
paper the generator normalises by batch and ends in tanh; the discriminator has no normalisation,
because gradient penalties are per sample.
"""

import math

import keras
from keras import layers

from pipeline.networks.batch_norm import BatchNormalization
from pipeline.networks.conditioning import image_planes, latent_inputs, model_of
from pipeline.networks.pyramid import base, crop, doublings, width


def build_generator(latent_dim: int, image_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    """A dense projection, then transposed 4x4 convolutions of stride 2, then a 3x3 convolution.

    Args:
      latent_dim: components of `z`.
      image_shape: (height, width, channels) of the output; square.
      num_classes: number of labels; 0 builds an unconditional network.

    Returns:
      See `pipeline.networks.build.build_generator`.
    """
    size, _, channels = image_shape
    levels = doublings(size)
    inputs, x = latent_inputs(latent_dim, num_classes)
    x = layers.Dense(base(size) ** 2 * width(levels), use_bias=False)(x)
    x = layers.ReLU()(_batch_norm()(x))
    x = layers.Reshape([base(size), base(size), width(levels)])(x)
    for level in reversed(range(levels)):
        x = layers.Conv2DTranspose(width(level), 4, strides=2, padding="same", use_bias=False)(x)
        x = layers.ReLU()(_batch_norm()(x))
    image = layers.Conv2D(channels, 3, padding="same", activation="tanh")(crop(x, size))
    return model_of(inputs, image, "generator")


def build_features(
    image_shape: tuple[int, int, int], num_classes: int
) -> tuple[list[keras.KerasTensor], keras.KerasTensor]:
    """Strided convolutions with LeakyReLU(0.2) down to at most 4 pixels.

    Args:
      image_shape: (height, width, channels) of the input; square.
      num_classes: number of labels, which enter as constant planes; 0 leaves them out.

    Returns:
      See `pipeline.networks.build.build_features`.
    """
    size, _, _ = image_shape
    inputs, x = image_planes(image_shape, num_classes)
    level = 0
    while size > 4:
        # An even kernel on an odd size would look at one side more than at the other.
        x = layers.Conv2D(width(level), 4 if size % 2 == 0 else 3, strides=2, padding="same")(x)
        x = layers.LeakyReLU(negative_slope=0.2)(x)
        size, level = math.ceil(size / 2), level + 1
    return inputs, layers.Flatten()(x)


def _batch_norm() -> layers.Layer:
    return BatchNormalization(momentum=0.9)
