"""A residual pair after R3GAN (Huang et al. 2024, arXiv 2501.05441, section 4), for 16 to 128 pixels.

No normalisation: residual blocks whose last convolution starts at zero, and whose others start smaller the
more blocks there are (fix-up initialisation, Zhang et al. 2019, arXiv 1901.09321). Resampling interpolates, and
activations are LeakyReLU(0.2) in both networks. Scaled down: widths are those of `dcgan.py`, a block
narrows to half its width instead of widening it in groups, and the generator ends in tanh as all of ours do.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.base.errors import MirageError
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

_SLOPE = 0.2
# Variance that a layer must gain to make up for the LeakyReLU after it (He et al. 2015, arXiv 1502.01852).
_GAIN = 2 / (1 + _SLOPE**2)


@dataclasses.dataclass(frozen=True)
class ResNet:
    """Residual networks, for 16 to 128 pixels.

    Attributes:
      width: feature planes at the image's own size, which double with each halving, up to 512; even.
      blocks: residual blocks at each size.
      doubling: whether widths double; otherwise they are the same at every size, as in R3GAN's for small images.
    """

    width: int = WIDTH
    blocks: int = 2
    doubling: bool = True

    def __post_init__(self) -> None:
        """Refuses what no layer can have; raises ValueError."""
        check_positive(self, "width", "blocks")
        if self.width % 2:
            raise ValueError(f"width={self.width}; expected an even number, as blocks narrow to half of it")

    def check(self, values: Mapping[str, Any]) -> None:
        """Refuses flags that don't go with these networks; raises MirageError."""
        check_size(values)
        if values["spectral_norm"]:
            raise MirageError(
                f"--spectral_norm does not go with --model={values['model']}, which starts with kernels that are zero; "
                "use --nospectral_norm."
            )

    def build_generator(
        self,
        latent_dim: int,
        image_shape: tuple[int, int, int],
        num_classes: int,
        *,
        attributes: Sequence[Attribute] = (),
    ) -> keras.Model:
        """A dense projection, residual blocks between bilinear doublings, then a 3x3 convolution.

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
        size, channels = size_of_images(image_shape, "resnet"), image_shape[2]
        levels, innermost = doublings(size), (*base(size), self._width(doublings(size)))
        inputs, x = latent_inputs(latent_dim, num_classes, attributes)
        x = keras.layers.Dense(math.prod(innermost), kernel_initializer=_initializer(1.0))(x)
        x = keras.layers.Reshape(innermost)(x)
        total = self.blocks * (levels + 1)
        x = self._stage(x, total)
        for level in reversed(range(levels)):
            x = keras.layers.UpSampling2D(2, interpolation="bilinear")(_fit(x, self._width(level)))
            x = self._stage(x, total)
        image = keras.layers.Conv2D(channels, 3, padding="same", activation="tanh")(crop(x, size))
        return model_of(inputs, image, "generator")

    def build_features(
        self, image_shape: tuple[int, int, int], num_classes: int, *, attributes: Sequence[Attribute] = ()
    ) -> keras.Model:
        """Residual blocks between averaging halvings down to at most 4 pixels on the shorter side.

        Args:
          image_shape: (height, width, channels) of the input.
          num_classes: number of classes, or of attributes, which enter as constant planes; 0 leaves them out.
          attributes: what these are, if labels are attributes.

        Returns:
          See `pipeline.networks`.

        Raises:
          MirageError: if images have another size.
        """
        size = size_of_images(image_shape, "resnet")
        inputs, x = image_planes(image_shape, num_classes, attributes)
        halvings = 0
        while min(size) > 4:
            size, halvings = halved(size), halvings + 1
        total = self.blocks * (halvings + 1)
        x = keras.layers.Conv2D(self._width(0), 3, padding="same", kernel_initializer=_initializer(1.0))(x)
        x = self._stage(x, total)
        for level in range(1, halvings + 1):
            x = keras.layers.AveragePooling2D(2, padding="same")(x)
            x = self._stage(_fit(x, self._width(level)), total)
        return model_of(inputs, keras.layers.Flatten()(x), "features")

    def _width(self, level: int) -> int:
        return width(level, self.width) if self.doubling else self.width

    def _stage(self, x: keras.KerasTensor, total: int) -> keras.KerasTensor:
        """The blocks at one size: x + conv1x1(conv3x3(conv1x1(x))), activated in between."""
        outer = x.shape[-1]
        scale = _GAIN * total**-0.5  # of variances: the standard deviations' total^(-1/4)
        for _ in range(self.blocks):
            y = keras.layers.Conv2D(outer // 2, 1, kernel_initializer=_initializer(scale))(x)
            y = keras.layers.LeakyReLU(negative_slope=_SLOPE)(y)
            y = keras.layers.Conv2D(outer // 2, 3, padding="same", kernel_initializer=_initializer(scale))(y)
            y = keras.layers.LeakyReLU(negative_slope=_SLOPE)(y)
            y = keras.layers.Conv2D(outer, 1, use_bias=False, kernel_initializer="zeros")(y)
            x = keras.layers.Add()([x, y])
        return x


def _fit(x: keras.KerasTensor, planes: int) -> keras.KerasTensor:
    """Changes the number of planes where it differs."""
    if x.shape[-1] == planes:
        return x
    return keras.layers.Conv2D(planes, 1, use_bias=False, kernel_initializer=_initializer(1.0))(x)


def _initializer(scale: float) -> keras.initializers.Initializer:
    return keras.initializers.VarianceScaling(scale, mode="fan_in", distribution="untruncated_normal")
