"""The discriminator of semi-supervised learning: fully connected, with Gaussian noise before each layer.

Widths and noise are those of Salimans et al. 2016 (arXiv 1606.03498) for MNIST, who took them from ladder
networks (Rasmus et al. 2015, arXiv 1507.02672); without their weight normalisation. The noise keeps a network from
learning the few labelled images by heart.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from pipeline.base.errors import MirageError
from pipeline.base.libraries import keras
from pipeline.networks.conditioning import model_of

WIDTHS = (1000, 500, 250, 250, 250)
_INPUT_NOISE = 0.3
_HIDDEN_NOISE = 0.5


@dataclasses.dataclass(frozen=True)
class NoisyMLP:
    """A discriminator that names classes, of which its logit for "real" follows.

    Attributes:
      widths: units of each layer.
    """

    widths: tuple[int, ...] = WIDTHS

    def build_discriminator(
        self, image_shape: tuple[int, int, int], num_classes: int, *, heads: Mapping[str, int]
    ) -> keras.Model:
        """Dense layers with ReLU; noise of standard deviation 0.3 on pixels, in [-1, 1], and 0.5 behind layers.

        Args:
          image_shape: (height, width, channels) of the input.
          num_classes: not used: labels are what it is to find.
          heads: how many `classes` it names.

        Returns:
          A model of `[image, noise]`, where `noise` is standard normal, float32 [N, pixels + units of all layers]. An
          input, so that a run stays a pure function of its seed; zeros take the noise away. Its outputs are `logits`
          [N], `classes` [N, K] and `features` [N, widths[-1]].

        Raises:
          MirageError: if the objective has no classes to name.
        """
        del num_classes
        if "classes" not in heads:
            raise MirageError(
                "--model=noisy_mlp names classes, which this objective does not train; use it with --objective=sgan."
            )
        image = keras.Input(image_shape, name="image")
        noise = keras.Input([math.prod(image_shape) + sum(self.widths)], name="noise")
        x = keras.layers.Flatten()(image)
        start = x.shape[-1]
        x = x + _INPUT_NOISE * noise[:, :start]
        for units in self.widths:
            x = keras.layers.ReLU()(keras.layers.Dense(units)(x))
            x = x + _HIDDEN_NOISE * noise[:, start : start + units]
            start += units
        classes = keras.layers.Dense(heads["classes"])(x)
        logits = keras.ops.logsumexp(classes, axis=-1)
        return model_of([image, noise], {"logits": logits, "classes": classes, "features": x}, "discriminator")
