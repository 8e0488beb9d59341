"""Which layers a StyleGAN2 consists of.

The generator is two models: `mapping` makes a style for each layer of `z` and label, `synthesis` makes images of
styles, without tanh. Stages double from 4 to 7 pixels on the shorter side, and what exceeds the images' size is cut
off; the discriminator puts zeros there.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.libraries import keras
from pipeline.networks.conditioning import heads_on, image_inputs, label_input, model_of
from pipeline.networks.pyramid import base, check_positive, check_size, doublings, excess, size_of_images
from serving.contract.attributes import Attribute

SIZES = (8, 1024)
_RATE = 0.01  # of the mapping's layers
_HALF = math.sqrt(0.5)


@dataclasses.dataclass(frozen=True)
class StyleGAN2:
    """StyleGAN2's networks, for 8 to 1024 pixels.

    Attributes:
      channel_base: feature planes times pixels of the side: a stage of 64 pixels has `channel_base` / 64 planes,
      channel_max: but at most so many.
      w_dim: components of a style.
      mapping_layers: dense layers between latents, or D's labels, and styles.
      group: how many pictures D compares with one another.
      residual: whether D's stages have a path around their convolutions.
      low_precision_stages: how many stages, those of the largest pictures, compute in what `--precision` says; the
        others and the smallest compute in float32.
    """

    channel_base: int = 32768
    channel_max: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    group: int = 4
    residual: bool = True
    low_precision_stages: int = 4

    def __post_init__(self) -> None:
        """Refuses what no layer can have; raises ValueError."""
        check_positive(self, "channel_base", "channel_max", "w_dim", "mapping_layers", "group")
        if type(self.low_precision_stages) is not int or self.low_precision_stages < 0:
            raise ValueError(
                f"low_precision_stages={self.low_precision_stages!r}; expected a whole number of at least 0"
            )

    def check(self, values: Mapping[str, Any]) -> None:
        """Refuses flags that don't go with these networks; raises MirageError."""
        check_size(values, SIZES)
        model = values["model"] if isinstance(values["model"], str) else "stylegan2"
        if values["spectral_norm"]:
            raise MirageError(
                f"--spectral_norm does not go with --model={model}, whose weights are scaled already; use "
                "--nospectral_norm."
            )
        if values["objective"] in ("vae", "autoencoder"):
            raise MirageError(
                f"--model={model} has no encoder, which --objective={values['objective']} needs; use --model=dcgan, "
                "resnet or mlp."
            )

    def build_generator(
        self,
        latent_dim: int,
        image_shape: tuple[int, int, int],
        num_classes: int,
        *,
        attributes: Sequence[Attribute] = (),
    ) -> keras.Model:
        """The synthesis of the mapping.

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
        size = size_of_images(image_shape, "stylegan2", SIZES)
        synthesis = self._synthesis(size, image_shape[2])
        mapping = self._mapping(latent_dim, num_classes, attributes, count=synthesis.inputs[0].shape[1])
        inputs = [keras.Input(each.shape[1:], dtype=each.dtype, name=each.name) for each in mapping.inputs]
        styles = mapping(inputs if len(inputs) > 1 else inputs[0])
        return model_of(inputs, synthesis(styles), "generator")

    def build_discriminator(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        *,
        heads: Mapping[str, int],
        attributes: Sequence[Attribute] = (),
    ) -> keras.Model:
        """Stages that halve the picture down to 4 to 7 pixels on its shorter side, then dense layers.

        Args:
          image_shape: (height, width, channels) of the input.
          num_classes: number of classes, or of attributes; their embeddings are multiplied with features. 0 leaves them
            out.
          heads: what it outputs besides, of the last features; of 0 numbers those themselves.
          attributes: what labels are, if they are attributes.

        Returns:
          See `pipeline.networks.build.build_networks`.

        Raises:
          MirageError: if images have another size.
        """
        from pipeline.networks.stylegan2.equalised import EqualisedDense

        size = size_of_images(image_shape, "stylegan2", SIZES)
        inputs, code = image_inputs(image_shape, num_classes, attributes)
        x = self._features(inputs[0], size)
        logits = (
            EqualisedDense(1, **_layer("logits"))(x) if code is None else self._by_label(x, code, unit=not attributes)
        )
        outputs = {"logits": keras.layers.Reshape([], dtype="float32")(logits)}
        outputs |= heads_on(x, heads, lambda name, number: EqualisedDense(number, **_layer(f"head_{name}")))
        return model_of(inputs, outputs if len(outputs) > 1 else outputs["logits"], "discriminator")

    def _mapping(self, latent_dim: int, num_classes: int, attributes: Sequence[Attribute], count: int) -> keras.Model:
        """From `z`, or `[z, label]`, to `count` times the same style."""
        from pipeline.networks.stylegan2.statistics import Styles, UnitSecondMoment

        inputs = [keras.Input([latent_dim], name="z")]
        x = UnitSecondMoment(**_layer("unit_latent"))(inputs[0])
        if num_classes:
            label, code = label_input(num_classes, attributes)
            inputs.append(label)
            embedded = self._embedded(code, self.w_dim, unit=not attributes)
            x = keras.layers.Concatenate(**_layer("latent_and_label"))([x, embedded])
        return model_of(inputs, Styles(count, **_layer("every_style"))(self._dense(x, self.w_dim)), "mapping")

    def _synthesis(self, size: tuple[int, int], channels: int) -> keras.Model:
        """From styles, [L, W], to images: each stage adds its own to the doubled ones of those before it."""
        from pipeline.networks.stylegan2.modulated import LearnedConstant, StyledConv, ToImage
        from pipeline.networks.stylegan2.resampling import FilteredDoubling

        levels = doublings(size)
        styles = keras.Input([2 * levels + 2, self.w_dim], name="styles")
        x = LearnedConstant((*base(size), self._planes(0)), **_layer("constant"))(styles)
        image: Any = None
        for level in range(levels + 1):
            dtype, planes, side = self._dtype(level, levels), self._planes(level), _side(level)
            # The style of a stage's picture is that of the next stage's first convolution as well.
            if level:
                x = StyledConv(planes, 2 * level - 1, doubles=True, **_layer(f"up_{side}", dtype))(x, styles)
            x = StyledConv(planes, 2 * level, **_layer(f"conv_{side}", dtype))(x, styles)
            more = ToImage(channels, 2 * level + 1, **_layer(f"image_{side}", dtype))(x, styles)
            if image is not None:
                doubled = FilteredDoubling(**_layer(f"doubled_{side}"))(image)
                more = keras.layers.Add(**_layer(f"sum_{side}"))([doubled, more])
            image = more
        if sides := excess(image.shape[1:3], size):
            image = keras.layers.Cropping2D(sides, **_layer("crop"))(image)
        return model_of([styles], image, "synthesis")

    def _features(self, image: keras.KerasTensor, size: tuple[int, int]) -> keras.KerasTensor:
        """What D knows of an image, [N, F]."""
        from pipeline.networks.stylegan2.equalised import EqualisedConv, EqualisedDense
        from pipeline.networks.stylegan2.statistics import MinibatchDeviation

        levels = doublings(size)
        around = excess(tuple(side * 2**levels for side in base(size)), size)
        x = keras.layers.ZeroPadding2D(around, **_layer("around"))(image) if around else image
        x = EqualisedConv(self._planes(levels), 1, **_layer("from_image", self._dtype(levels, levels)))(x)
        gain = _HALF if self.residual else 1.0
        for level in reversed(range(1, levels + 1)):
            dtype, planes, side = self._dtype(level, levels), self._planes(level - 1), _side(level)
            halves: dict[str, Any] = {"halves": True, "gain": gain}
            y = EqualisedConv(self._planes(level), 3, **_layer(f"conv_{side}", dtype))(x)
            y = EqualisedConv(planes, 3, **halves, **_layer(f"down_{side}", dtype))(y)
            if self.residual:
                x = EqualisedConv(planes, 1, activated=False, **halves, **_layer(f"path_{side}", dtype))(x)
                y = keras.layers.Add(**_layer(f"sum_{side}", dtype))([x, y])
            x = y
        x = MinibatchDeviation(self.group, **_layer("deviation"))(x)
        x = EqualisedConv(self._planes(0), 3, **_layer("conv_4"))(x)
        x = keras.layers.Flatten(**_layer("flat"))(x)
        return EqualisedDense(self._planes(0), activated=True, **_layer("features"))(x)

    def _by_label(self, x: keras.KerasTensor, code: keras.KerasTensor, *, unit: bool) -> keras.KerasTensor:
        """A logit for the label, [N, 1] (Miyato and Koyama 2018, arXiv 1802.05637)."""
        from pipeline.networks.stylegan2.equalised import EqualisedDense
        from pipeline.networks.stylegan2.statistics import Product

        width = self._planes(0)
        label = self._dense(self._embedded(code, width, unit=unit), width)
        return Product(**_layer("product"))(EqualisedDense(width, **_layer("logits"))(x), label)

    def _embedded(self, code: keras.KerasTensor, width: int, *, unit: bool) -> keras.KerasTensor:
        """A linear function of a label's code; of classes normalised, which would take the size of numbers away."""
        from pipeline.networks.stylegan2.equalised import EqualisedDense
        from pipeline.networks.stylegan2.statistics import UnitSecondMoment

        embedded = EqualisedDense(width, **_layer("embedded_label"))(code)
        return UnitSecondMoment(**_layer("unit_label"))(embedded) if unit else embedded

    def _dense(self, x: keras.KerasTensor, width: int) -> keras.KerasTensor:
        from pipeline.networks.stylegan2.equalised import EqualisedDense

        for index in range(self.mapping_layers):
            x = EqualisedDense(width, activated=True, rate=_RATE, **_layer(f"dense_{index}"))(x)
        return x

    def _planes(self, level: int) -> int:
        """Feature planes of a stage, of which 0 is the smallest, of 4 pixels."""
        return max(min(self.channel_base // _side(level), self.channel_max), 1)

    def _dtype(self, level: int, levels: int) -> str | None:
        """In what a stage computes; None is what `--precision` says."""
        return None if level > max(levels - self.low_precision_stages, 0) else "float32"


def _side(level: int) -> int:
    """What a stage is called by: the pixels of its side, where pictures are squares of a power of two."""
    return int(4 * 2**level)


def _layer(name: str, dtype: str | None = "float32") -> dict[str, Any]:
    """What every layer takes; names are those by which weights are known to other runs."""
    return {"name": name, "dtype": dtype}
