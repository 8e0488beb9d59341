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
from pipeline.networks.conditioning import label_planes, one_hot_input

IMAGE_SIZES = (16, 128)
_WIDTH = 32
_MAX_WIDTH = 512


def _doublings(size: int) -> int:
    """Number of doublings that lead from at least 4 pixels to `size`."""
    return int(math.log2(size / 4))


def _width(level: int) -> int:
    return min(_WIDTH * 2**level, _MAX_WIDTH)


def build_generator(latent_dim: int, image_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    """A dense projection, then transposed 4x4 convolutions of stride 2, then a 3x3 convolution.

    Args:
      latent_dim: components of `z`.
      image_shape: (height, width, channels) of the output; square.
      num_classes: number of labels; 0 builds an unconditional network.

    Returns:
      See `pipeline.networks.build_generator`.
    """
    size, _, channels = image_shape
    doublings = _doublings(size)
    base = math.ceil(size / 2**doublings)
    z = keras.Input([latent_dim], name="z")
    inputs, x = [z], z
    if num_classes:
        label, one_hot = one_hot_input(num_classes)
        inputs, x = [z, label], layers.Concatenate()([z, one_hot])
    x = layers.Dense(base * base * _width(doublings), use_bias=False)(x)
    x = layers.ReLU()(_batch_norm()(x))
    x = layers.Reshape([base, base, _width(doublings)])(x)
    for level in reversed(range(doublings)):
        x = layers.Conv2DTranspose(_width(level), 4, strides=2, padding="same", use_bias=False)(x)
        x = layers.ReLU()(_batch_norm()(x))
    excess = base * 2**doublings - size
    if excess:
        start = excess // 2
        x = layers.Cropping2D([(start, excess - start), (start, excess - start)])(x)
    image = layers.Conv2D(channels, 3, padding="same", activation="tanh")(x)
    return keras.Model(inputs if num_classes else z, image, name="generator")


def build_discriminator(image_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    """Strided convolutions with LeakyReLU(0.2) down to at most 4 pixels; one logit.

    Args:
      image_shape: (height, width, channels) of the input; square.
      num_classes: number of labels, which enter as constant planes; 0 builds an unconditional network.

    Returns:
      See `pipeline.networks.build_discriminator`.
    """
    size, _, _ = image_shape
    image = keras.Input(image_shape, name="image")
    inputs, x = [image], image
    if num_classes:
        label, one_hot = one_hot_input(num_classes)
        inputs, x = [image, label], layers.Concatenate()([image, label_planes(one_hot, size, size)])
    level = 0
    while size > 4:
        # An even kernel on an odd size would look at one side more than at the other.
        x = layers.Conv2D(_width(level), 4 if size % 2 == 0 else 3, strides=2, padding="same")(x)
        x = layers.LeakyReLU(negative_slope=0.2)(x)
        size, level = math.ceil(size / 2), level + 1
    logits = layers.Reshape([])(layers.Dense(1)(layers.Flatten()(x)))
    return keras.Model(inputs if num_classes else image, logits, name="discriminator")


def _batch_norm() -> layers.Layer:
    return BatchNormalization(momentum=0.9)
