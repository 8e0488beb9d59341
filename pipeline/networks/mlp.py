"""The fully connected pair of the classic Keras MNIST GAN (eriklindernoren/Keras-GAN, `gan.py`).

On 28x28x1 images with a latent of 100 the discriminator has 533,505 parameters and the generator
1,493,520, of which 3,584 are moving statistics that no gradient moves. The discriminator returns
logits where the original ends in a sigmoid: the same function, in a numerically safer place.
"""

import math

import keras
from keras import layers

from pipeline.networks.batch_norm import BatchNormalization
from pipeline.networks.conditioning import image_inputs, latent_inputs, model_of


def build_generator(latent_dim: int, image_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    """Dense 256, 512, 1024, each with LeakyReLU(0.2) and batch norm; tanh.

    Args:
      latent_dim: components of `z`.
      image_shape: (height, width, channels) of the output.
      num_classes: number of labels; 0 builds an unconditional network.

    Returns:
      See `pipeline.networks.build.build_generator`.
    """
    inputs, x = latent_inputs(latent_dim, num_classes)
    for units in (256, 512, 1024):
        x = layers.Dense(units)(x)
        x = layers.LeakyReLU(negative_slope=0.2)(x)
        x = BatchNormalization(momentum=0.8)(x)
    x = layers.Dense(math.prod(image_shape), activation="tanh")(x)
    image = layers.Reshape(image_shape)(x)
    return model_of(inputs, image, "generator")


def build_features(
    image_shape: tuple[int, int, int], num_classes: int
) -> tuple[list[keras.KerasTensor], keras.KerasTensor]:
    """Dense 512, 256, each with LeakyReLU(0.2).

    Args:
      image_shape: (height, width, channels) of the input.
      num_classes: number of labels to concatenate; 0 concatenates none.

    Returns:
      See `pipeline.networks.build.build_features`.
    """
    inputs, label = image_inputs(image_shape, num_classes)
    x = layers.Flatten()(inputs[0])
    if label is not None:
        x = layers.Concatenate()([x, label])
    for units in (512, 256):
        x = layers.Dense(units)(x)
        x = layers.LeakyReLU(negative_slope=0.2)(x)
    return inputs, x
