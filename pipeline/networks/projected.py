"""The discriminator of Projected GANs (Sauer et al. 2021, arXiv 2111.01007), which learns fast from few pictures.

It sees what EfficientNet-Lite0, trained on ImageNet, knows of a picture: maps at four strides. These are mixed at
random, over planes by 1x1 convolutions, then over scales by 3x3 convolutions from the deepest one up; so all that is
known is in all of them, and no scale can be ignored. Four small discriminators judge each place of one of them. Only
these are trained: the network is frozen, and so are the mixes, which the run's seed draws.

Different from the paper: normalised are groups of planes of each picture rather than planes over the batch, so that a
logit is one picture's, whatever stands beside it. Of small pictures, maps of a few pixels pass one layer without being
halved, and where they have fewer places than the first, their logits are repeated, so that all scales count the same.
Labels are used by projection (Miyato and Koyama 2018, arXiv 1802.05637).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.libraries import keras
from pipeline.networks.conditioning import heads_on, image_inputs, model_of
from pipeline.networks.pyramid import check_positive, crop, halved
from pipeline.pretrained import lite0_file
from serving.contract.attributes import Attribute

_SLOPE = 0.2
_WIDEST = 8  # of all scales, in widths of the first
_GROUP = 16  # planes that are normalised together
_EMBEDDING = 64  # planes that a label is multiplied with
_LEAST = 4  # pixels of a map whose places are judged


@dataclasses.dataclass(frozen=True)
class Projected:
    """A discriminator on EfficientNet-Lite0's maps, for pictures of any size.

    Attributes:
      width: planes of the mix at a stride of 4; each deeper one has twice as many.
      side: pixels that pictures are enlarged to, by a whole factor, if their shorter side has fewer.
    """

    width: int = 64
    side: int = 64

    def __post_init__(self) -> None:
        """Refuses what no layer can have; raises ValueError."""
        check_positive(self, "width", "side")

    def check(self, values: Mapping[str, Any]) -> None:
        """Refuses flags that don't go with it, and to go on without the weights; raises MirageError."""
        lite0_file.check_installed("--discriminator=projected", "choose another --discriminator")
        if values["spectral_norm"]:
            raise MirageError(
                "--spectral_norm does not go with --discriminator=projected, which has it already; use "
                "--nospectral_norm."
            )

    def build_discriminator(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        *,
        heads: Mapping[str, int],
        attributes: Sequence[Attribute] = (),
    ) -> keras.Model:
        """The maps, their mixes, and a discriminator for each.

        Args:
          image_shape: (height, width, channels) of the input.
          num_classes: number of classes, or of attributes, which are used by projection; 0 leaves them out.
          heads: what it outputs besides, of the deepest discriminator's features; of 0 numbers those themselves.
          attributes: what labels are, if they are attributes.

        Returns:
          A model of `image`, or `[image, label]`, of a logit for each place of each scale, [N, J].

        Raises:
          MirageError: if the weights are not installed, or damaged.
        """
        from pipeline.networks.pretrained_maps import PretrainedMaps

        inputs, code = image_inputs(image_shape, num_classes, attributes)
        x, factor = inputs[0], math.ceil(self.side / min(image_shape[:2]))
        if factor > 1:
            x = keras.layers.UpSampling2D(factor, interpolation="bilinear", name="enlarged")(x)
        logits: list[keras.KerasTensor] = []
        for scale, mix in enumerate(self._mixed(PretrainedMaps(name="pretrained")(x))):
            features = self._features(mix, scale)
            logits.append(_judged(features, code, scale, like=logits[0] if logits else None))
        places = [math.prod(logits[0].shape[1:])]
        logits = [keras.layers.Reshape(places, name=f"places_{i}", dtype="float32")(x) for i, x in enumerate(logits)]
        outputs = {"logits": keras.layers.Concatenate(dtype="float32", name="logits")(logits)}
        x = keras.layers.GlobalAveragePooling2D(dtype="float32", name="features")(features) if heads else None
        outputs |= heads_on(
            x, heads, lambda name, number: keras.layers.Dense(number, dtype="float32", name=f"head_{name}")
        )
        return model_of(inputs, outputs if heads else outputs["logits"], "discriminator")

    def _mixed(self, maps: Sequence[keras.KerasTensor]) -> list[keras.KerasTensor]:
        """Mixes over planes, then over scales; from the largest map down to the smallest."""
        found: list[keras.KerasTensor] = []
        for scale in reversed(range(len(maps))):
            x = _fixed(self._planes(scale), 1, f"planes_{scale}")(maps[scale])
            if found:
                above = keras.layers.UpSampling2D(2, interpolation="bilinear", name=f"up_{scale}")(found[0])
                x = keras.layers.Add(name=f"sum_{scale}")([x, crop(above, x.shape[1:3])])
            found.insert(0, _fixed(self._planes(max(scale - 1, 0)), 3, f"scales_{scale}")(x))
        return found

    def _features(self, x: keras.KerasTensor, scale: int) -> keras.KerasTensor:
        """One discriminator: layers that halve the map to at most four pixels on its shorter side; at least one."""
        from pipeline.networks.spectral_norm import SpectralNormalization

        size, level = x.shape[1:3], scale
        while level == scale or min(size) > _LEAST:
            strides = 2 if min(size) > _LEAST else 1
            kernel = [4 if strides == 2 and side % 2 == 0 else 3 for side in size]
            level += 1
            planes, name = self._planes(level), f"{scale}_{level}"
            convolution = keras.layers.Conv2D(planes, kernel, strides=strides, padding="same", use_bias=False)
            x = SpectralNormalization(convolution, name=f"conv_{name}")(x)
            groups = planes // math.gcd(planes, _GROUP)
            x = keras.layers.GroupNormalization(groups, epsilon=1e-5, name=f"norm_{name}")(x)
            x = keras.layers.LeakyReLU(negative_slope=_SLOPE, name=f"act_{name}")(x)
            size = halved(size) if strides == 2 else size
        return x

    def _planes(self, level: int) -> int:
        return self.width * min(2**level, _WIDEST)


def _judged(
    x: keras.KerasTensor, code: keras.KerasTensor | None, scale: int, like: keras.KerasTensor | None
) -> keras.KerasTensor:
    """A logit for each place, [N, H, W, 1], of as many places as another map has."""
    from pipeline.networks.pretrained_maps import MapProjection
    from pipeline.networks.spectral_norm import SpectralNormalization

    def convolved(planes: int, name: str) -> keras.KerasTensor:
        convolution = keras.layers.Conv2D(planes, 3, padding="same", use_bias=False)
        return SpectralNormalization(convolution, name=f"{name}_{scale}")(x)

    logits = convolved(1, "logit")
    if code is not None:
        # Zero at first: to begin with, it judges without regard to the label.
        label = keras.layers.Dense(_EMBEDDING, kernel_initializer="zeros", name=f"label_{scale}")(code)
        of_label = MapProjection(name=f"product_{scale}")(convolved(_EMBEDDING, "of_label"), label)
        logits = keras.layers.Add(name=f"sum_of_logits_{scale}")([logits, of_label])
    if like is None or logits.shape == like.shape:
        return logits
    factors = [math.ceil(more / side) for more, side in zip(like.shape[1:3], logits.shape[1:3], strict=True)]
    repeated = keras.layers.UpSampling2D(factors, name=f"repeated_{scale}")(logits)
    return crop(repeated, like.shape[1:3])


def _fixed(planes: int, size: int, name: str) -> keras.layers.Layer:
    """A convolution that is drawn once and never trained."""
    initializer = keras.initializers.HeNormal()
    return keras.layers.Conv2D(
        planes, size, padding="same", use_bias=False, kernel_initializer=initializer, trainable=False, name=name
    )
