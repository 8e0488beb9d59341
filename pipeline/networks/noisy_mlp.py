"""The discriminator of semi-supervised learning: fully connected, with Gaussian noise before each layer.

Widths and noise are those of Salimans et al. 2016 (arXiv 1606.03498) for MNIST, who took them from ladder
networks (Rasmus et al. 2015, arXiv 1507.02672); without their weight normalisation. The noise keeps a network from
learning the few labelled images by heart.
"""

import math
from collections.abc import Sequence

import keras
from keras import layers

WIDTHS = (1000, 500, 250, 250, 250)
_INPUT_NOISE = 0.3
_HIDDEN_NOISE = 0.5


def build_features(
    image_shape: tuple[int, int, int], widths: Sequence[int] = WIDTHS
) -> tuple[list[keras.KerasTensor], keras.KerasTensor]:
    """Dense layers with ReLU; noise of standard deviation 0.3 on pixels, which are in [-1, 1], and 0.5 behind layers.

    Args:
      image_shape: (height, width, channels) of the input.
      widths: units of each layer.

    Returns:
      ([`image`, `noise`], features [N, widths[-1]]); `noise` is standard normal, float32 [N, pixels + units of all
      layers]. An input, so that a run stays a pure function of its seed; zeros take the noise away.
    """
    image = keras.Input(image_shape, name="image")
    noise = keras.Input([math.prod(image_shape) + sum(widths)], name="noise")
    x = layers.Flatten()(image)
    start = x.shape[-1]
    x = x + _INPUT_NOISE * noise[:, :start]
    for units in widths:
        x = layers.ReLU()(layers.Dense(units)(x))
        x = x + _HIDDEN_NOISE * noise[:, start : start + units]
        start += units
    return [image, noise], x


def noise_size(model: keras.Model) -> int:
    """Number of random numbers that a model takes with each image; 0 if it takes none."""
    sizes = [each.shape[-1] for each in model.inputs if each.name == "noise"]
    return sizes[0] if sizes else 0
