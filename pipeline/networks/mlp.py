"""The fully connected pair of the classic Keras MNIST GAN (eriklindernoren/Keras-GAN, `gan.py`).

On 28x28x1 images with a latent of 100 the discriminator has 533,505 parameters and the generator
1,493,520, of which 3,584 are moving statistics that no gradient moves. The discriminator returns
logits where the original ends in a sigmoid: the same function, in a numerically safer place.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from pipeline.base.libraries import keras
from pipeline.networks.conditioning import image_inputs, latent_inputs, model_of
from pipeline.networks.pyramid import check_positive
from serving.contract.attributes import Attribute


@dataclasses.dataclass(frozen=True)
class MLP:
    """Fully connected networks, for images of any size.

    Attributes:
      width: units of the narrowest layer.
    """

    width: int = 256

    def __post_init__(self) -> None:
        """Refuses what no layer can have; raises ValueError."""
        check_positive(self, "width")

    def build_generator(
        self,
        latent_dim: int,
        image_shape: tuple[int, int, int],
        num_classes: int,
        *,
        attributes: Sequence[Attribute] = (),
    ) -> keras.Model:
        """Dense layers of once, twice and four times the width, each with LeakyReLU(0.2) and batch norm; tanh.

        Args:
          latent_dim: components of `z`.
          image_shape: (height, width, channels) of the output.
          num_classes: number of classes, or of attributes; 0 builds an unconditional network.
          attributes: what these are, if labels are attributes.

        Returns:
          See `pipeline.networks.build.build_networks`.
        """
        from pipeline.networks.batch_norm import BatchNormalization

        inputs, x = latent_inputs(latent_dim, num_classes, attributes)
        for units in (self.width, 2 * self.width, 4 * self.width):
            x = keras.layers.Dense(units)(x)
            x = keras.layers.LeakyReLU(negative_slope=0.2)(x)
            x = BatchNormalization(momentum=0.8)(x)
        x = keras.layers.Dense(math.prod(image_shape), activation="tanh")(x)
        image = keras.layers.Reshape(image_shape)(x)
        return model_of(inputs, image, "generator")

    def build_features(
        self, image_shape: tuple[int, int, int], num_classes: int, *, attributes: Sequence[Attribute] = ()
    ) -> keras.Model:
        """Dense layers of twice and once the width, each with LeakyReLU(0.2).

        Args:
          image_shape: (height, width, channels) of the input.
          num_classes: number of classes, or of attributes, to concatenate; 0 concatenates none.
          attributes: what these are, if labels are attributes.

        Returns:
          See `pipeline.networks`.
        """
        inputs, label = image_inputs(image_shape, num_classes, attributes)
        x = keras.layers.Flatten()(inputs[0])
        if label is not None:
            x = keras.layers.Concatenate()([x, label])
        for units in (2 * self.width, self.width):
            x = keras.layers.Dense(units)(x)
            x = keras.layers.LeakyReLU(negative_slope=0.2)(x)
        return model_of(inputs, x, "features")
