"""A convolutional pair after DCGAN (Radford et al. 2015, arXiv 1511.06434), for 16 to 128 pixels.

The generator projects the latent to a small picture, 4 to 7 pixels on its shorter side, doubles it with transposed
convolutions and crops what exceeds the image size. The discriminator halves the image with strided
convolutions. Depth follows from the image size; widths double inwards from 32, up to 512. As in the
paper the generator normalises by batch and ends in tanh; the discriminator has no normalisation,
because gradient penalties are per sample.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.base.libraries import keras
from pipeline.networks.conditioning import image_planes, latent_inputs, model_of
from pipeline.networks.pyramid import (
    WIDTH,
    base,
    check_positive,
    check_size,
    crop,
    doublings,
    halved,
    size_of_images,
    width,
)
from serving.contract.attributes import Attribute


@dataclasses.dataclass(frozen=True)
class DCGAN:
    """Convolutional networks, for 16 to 128 pixels.

    Attributes:
      width: feature planes next to the image, which double with each halving of its size, up to 512.
    """

    width: int = WIDTH

    def __post_init__(self) -> None:
        """Refuses what no layer can have; raises ValueError."""
        check_positive(self, "width")

    def check(self, values: Mapping[str, Any]) -> None:
        """Refuses flags that don't go with these networks; raises MirageError."""
        check_size(values)

    def build_generator(
        self,
        latent_dim: int,
        image_shape: tuple[int, int, int],
        num_classes: int,
        *,
        attributes: Sequence[Attribute] = (),
    ) -> keras.Model:
        """A dense projection, then transposed 4x4 convolutions of stride 2, then a 3x3 convolution.

        Args:
          latent_dim: components of `z`.
          image_shape: (height, width, channels) of the output.
          num_classes: number of classes, or of attributes; 0 builds an unconditional network.
          attributes: what these are, if labels are attributes.

        Returns:
          See `pipeline.networks.build.build_networks`.

        Raises:
          MirageError: if images have another size.
        """
        from pipeline.networks.batch_norm import BatchNormalization

        size, channels = size_of_images(image_shape, "dcgan"), image_shape[2]
        levels, innermost = doublings(size), (*base(size), width(doublings(size), self.width))
        inputs, x = latent_inputs(latent_dim, num_classes, attributes)
        x = keras.layers.Dense(math.prod(innermost), use_bias=False)(x)
        x = keras.layers.ReLU()(BatchNormalization(momentum=0.9)(x))
        x = keras.layers.Reshape(innermost)(x)
        for level in reversed(range(levels)):
            planes = width(level, self.width)
            x = keras.layers.Conv2DTranspose(planes, 4, strides=2, padding="same", use_bias=False)(x)
            x = keras.layers.ReLU()(BatchNormalization(momentum=0.9)(x))
        image = keras.layers.Conv2D(channels, 3, padding="same", activation="tanh")(crop(x, size))
        return model_of(inputs, image, "generator")

    def build_features(
        self, image_shape: tuple[int, int, int], num_classes: int, *, attributes: Sequence[Attribute] = ()
    ) -> keras.Model:
        """Strided convolutions with LeakyReLU(0.2) down to at most 4 pixels on the shorter side.

        Args:
          image_shape: (height, width, channels) of the input.
          num_classes: number of classes, or of attributes, which enter as constant planes; 0 leaves them out.
          attributes: what these are, if labels are attributes.

        Returns:
          See `pipeline.networks`.

        Raises:
          MirageError: if images have another size.
        """
        size = size_of_images(image_shape, "dcgan")
        inputs, x = image_planes(image_shape, num_classes, attributes)
        level = 0
        while min(size) > 4:
            # An even kernel on an odd size would look at one side more than at the other.
            kernel = [4 if side % 2 == 0 else 3 for side in size]
            x = keras.layers.Conv2D(width(level, self.width), kernel, strides=2, padding="same")(x)
            x = keras.layers.LeakyReLU(negative_slope=0.2)(x)
            size, level = halved(size), level + 1
        return model_of(inputs, keras.layers.Flatten()(x), "features")
