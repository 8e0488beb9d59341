"""The networks of R3GAN (Huang et al. 2024, arXiv 2501.05441, section 4), for 16 to 512 pixels.

Stages of residual blocks, one for each size of the picture, between which it is doubled or halved by interpolation. A
block widens to twice its planes, convolves them in groups (as in ResNeXt, Xie et al. 2016, arXiv 1611.05431) and
narrows again. Nothing normalises: each block's last convolution starts at zero, and its others start smaller the more
blocks there are (fix-up initialisation, Zhang et al. 2019, arXiv 1901.09321). The only biases are those before
activations. The discriminator mirrors the generator. As the paper has it, nothing holds the generator's images in
[-1, 1].

    images                           planes of each stage, from 4x4 up   arguments
    CIFAR-10                         768, 768, 768, 768
    FFHQ at 64 pixels, at 256        the same, 384; and 192, 96
    ImageNet at 32 pixels            1536, 1536, 1536, 1536              width=1536,group=32
    ImageNet at 64 pixels            the same, 1536                      width=1536,group=32,wide_stages=5
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.libraries import keras
from pipeline.networks.conditioning import code_of, heads_on, image_planes, label_input, model_of
from pipeline.networks.pyramid import base, check_positive, check_size, crop, doublings, size_of_images
from serving.contract.attributes import Attribute

IMAGE_SIZES = (16, 512)
_SLOPE = 0.2
# Variance that a layer must gain to make up for the LeakyReLU after it (He et al. 2015, arXiv 1502.01852).
_GAIN = 2 / (1 + _SLOPE**2)
_MOST_LOW = 4  # stages that compute in low precision where nothing is said


@dataclasses.dataclass(frozen=True)
class R3GAN:
    """R3GAN's networks, for 16 to 512 pixels; the defaults are the paper's for small images and faces.

    Attributes:
      width: feature planes of the widest stages; or of each stage, from the smallest picture up, such as (64,64,32).
      wide_stages: how many stages have that width, from the smallest picture up; each further one has half of the one
        before.
      group: planes in each group of the 3x3 convolutions, of twice a stage's width.
      blocks: residual blocks in each stage.
      embedding: components of the label's embedding that is joined to z.
      low_precision_stages: how many stages, those of the largest pictures, compute as --precision says; the others and
        the ends of both networks compute in float32. None is as in the paper: at most four, never the smallest.
    """

    width: int | tuple[int, ...] = 768
    wide_stages: int = 4
    group: int = 16
    blocks: int = 2
    embedding: int = 64
    low_precision_stages: int | None = None

    def __post_init__(self) -> None:
        """Refuses what no layer can have; raises ValueError."""
        check_positive(self, "wide_stages", "group", "blocks", "embedding")
        widths = self.width if isinstance(self.width, tuple) else (self.width,)
        if not widths or not all(type(each) is int and each > 0 for each in widths):
            raise ValueError(f"width={self.width!r}; expected a whole number of at least 1, or one for each stage")
        low = self.low_precision_stages
        if low is not None and (type(low) is not int or low < 0):
            raise ValueError(f"low_precision_stages={low!r}; expected a number of stages, 0 or more, or none")

    def check(self, values: Mapping[str, Any]) -> None:
        """Refuses flags that don't go with these networks; raises MirageError."""
        check_size(values, IMAGE_SIZES)
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
        """A learned picture times a linear function of the latent, then stages between doublings, then a 1x1.

        Args:
          latent_dim: components of `z`.
          image_shape: (height, width, channels) of the output.
          num_classes: number of classes, or of attributes; 0 builds an unconditional network.
          attributes: what these are, if labels are attributes.

        Returns:
          See `pipeline.networks.build.build_networks`.

        Raises:
          MirageError: if images have another size, or stages can't have these widths.
        """
        from pipeline.networks.learned_basis import LearnedBasis
        from pipeline.networks.resampling import Doubling

        size = size_of_images(image_shape, "r3gan", IMAGE_SIZES)
        stages = self._stages(size)
        z = keras.Input([latent_dim], name="z")
        inputs, x = [z], z
        if num_classes:
            label, code = label_input(num_classes, attributes)
            inputs, x = (
                [z, label],
                keras.layers.Concatenate(dtype="float32")([z, _linear(self.embedding)(code)]),
            )
        width, dtype = stages[0]
        x = LearnedBasis(base(size), dtype=dtype)(_linear(width)(x))
        x = self._stage(x, len(stages), dtype)
        for width, dtype in stages[1:]:
            x = Doubling(dtype=dtype)(_fit(x, width, dtype))
            x = self._stage(x, len(stages), dtype)
        return model_of(inputs, _pointwise(image_shape[2], "float32")(crop(x, size)), "generator")

    def build_features(
        self, image_shape: tuple[int, int, int], num_classes: int, *, attributes: Sequence[Attribute] = ()
    ) -> keras.Model:
        """A 1x1, stages between halvings, and a weighted sum of each plane.

        Args:
          image_shape: (height, width, channels) of the input.
          num_classes: number of classes, or of attributes, which enter as constant planes; 0 leaves them out.
          attributes: what these are, if labels are attributes.

        Returns:
          See `pipeline.networks`.

        Raises:
          MirageError: if images have another size, or stages can't have these widths.
        """
        from pipeline.networks.learned_basis import WeightedSum
        from pipeline.networks.resampling import Halving

        size = size_of_images(image_shape, "r3gan", IMAGE_SIZES)
        inputs, x = image_planes(image_shape, num_classes, attributes)
        stages = self._stages(size)[::-1]
        x = _pointwise(*stages[0])(x)
        x = self._stage(x, len(stages), stages[0][1])
        for width, dtype in stages[1:]:
            x = _fit(Halving(dtype=dtype)(x), width, dtype)
            x = self._stage(x, len(stages), dtype)
        return model_of(inputs, WeightedSum(dtype="float32")(x), "features")

    def build_discriminator(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        *,
        heads: Mapping[str, int],
        conditionings: Sequence[str],
        attributes: Sequence[Attribute] = (),
    ) -> keras.Model:
        """The features, and a linear function of them: their product with the label's embedding by projection.

        Args:
          image_shape: (height, width, channels) of the input.
          num_classes: number of classes, or of attributes; 0 builds an unconditional network.
          attributes: what these are, if labels are attributes.
          heads: what else it says of an image, by name, and how many numbers.
          conditionings: how it uses labels, see `pipeline.networks.conditioning`.
          attributes: what labels are, if they are attributes.

        Returns:
          See `pipeline.networks.build.build_networks`.

        Raises:
          MirageError: as `build_features`.
        """
        features = self.build_features(
            image_shape, num_classes if "concat" in conditionings else 0, attributes=attributes
        )
        inputs, x = features.inputs, features.outputs[0]
        if num_classes and "projection" in conditionings:
            if len(inputs) == 1:
                inputs = [*inputs, label_input(num_classes, attributes)[0]]
            width = x.shape[-1]
            embedded = _linear(width, scale=1 / width)(code_of(inputs[1], num_classes, attributes))
            outputs = {"logits": keras.ops.sum(_linear(width)(x) * embedded, axis=-1)}
        else:
            outputs = {"logits": keras.layers.Reshape([], dtype="float32")(_linear(1)(x))}
        outputs |= heads_on(x, heads, lambda name, number: keras.layers.Dense(number, dtype="float32"))
        return model_of(inputs, outputs if len(outputs) > 1 else outputs["logits"], "discriminator")

    def _stages(self, size: tuple[int, int]) -> list[tuple[int, str | None]]:
        """(planes, dtype) of each stage, from the smallest picture up; None is what --precision says."""
        count = doublings(size) + 1
        if isinstance(self.width, tuple):
            widths = list(self.width)
        else:
            widths = [self.width >> max(0, index + 1 - self.wide_stages) for index in range(count)]
        given = ",".join(map(str, widths))
        if len(widths) != count:
            raise MirageError(
                f"--model_args=width=({given}) has {len(widths)} stages, and {size[0]}x{size[1]} pixels have {count}, "
                f"from {base(size)[0]}x{base(size)[1]} up; give a width for each, or one number."
            )
        wrong = [width for width in widths if not width or 2 * width % self.group]
        if wrong:
            raise MirageError(
                f"--model=r3gan has stages of {given} planes at {size[0]}x{size[1]} pixels, and twice {wrong[0]} can't "
                f"be shared by groups of {self.group}; choose another width or group by --model_args."
            )
        low = self.low_precision_stages
        low = min(_MOST_LOW, count - 1) if low is None else min(low, count)
        return [(width, None if index >= count - low else "float32") for index, width in enumerate(widths)]

    def _stage(self, x: keras.KerasTensor, stages: int, dtype: str | None) -> keras.KerasTensor:
        """The blocks at one size: x + 1x1(3x3(1x1(x))), activated in between."""
        from pipeline.networks.grouped import GroupedConv2D

        outer = x.shape[-1]
        # Of variances: standard deviations start at the number of blocks to the power of -1/4.
        first = _initializer(_GAIN * (self.blocks * stages) ** -0.5)
        for _ in range(self.blocks):
            y = keras.layers.Conv2D(2 * outer, 1, kernel_initializer=first, dtype=dtype)(x)
            y = keras.layers.LeakyReLU(negative_slope=_SLOPE, dtype=dtype)(y)
            groups = 2 * outer // self.group
            y = GroupedConv2D(
                2 * outer, 3, padding="same", groups=groups, kernel_initializer=first, dtype=dtype
            )(y)  # fmt: skip
            y = keras.layers.LeakyReLU(negative_slope=_SLOPE, dtype=dtype)(y)
            y = keras.layers.Conv2D(outer, 1, use_bias=False, kernel_initializer="zeros", dtype=dtype)(y)
            x = keras.layers.Add(dtype=dtype)([x, y])
        return x


def _linear(units: int, scale: float = 1.0) -> keras.layers.Layer:
    return keras.layers.Dense(units, use_bias=False, kernel_initializer=_initializer(scale), dtype="float32")


def _pointwise(planes: int, dtype: str | None) -> keras.layers.Layer:
    return keras.layers.Conv2D(planes, 1, use_bias=False, kernel_initializer=_initializer(1.0), dtype=dtype)


def _fit(x: keras.KerasTensor, planes: int, dtype: str | None) -> keras.KerasTensor:
    """Changes the number of planes where it differs."""
    return x if x.shape[-1] == planes else _pointwise(planes, dtype)(x)


def _initializer(scale: float) -> keras.initializers.Initializer:
    return keras.initializers.VarianceScaling(scale, mode="fan_in", distribution="untruncated_normal")
