"""Style mixing (Karras et al. 2018, arXiv 1812.04948, section 3.1), for generators of a mapping and a synthesis.

With the given probability an image is made of two latents: one decides the styles of the layers up to a place that is
drawn, another one those behind it. So layers can't count on each other's styles being of the same latent.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Self

from pipeline.base.errors import MirageError
from pipeline.base.libraries import tf
from pipeline.base.needs import Needs
from pipeline.base.parameters import Parameters, parameter
from pipeline.objectives.objective import Objective, refuse
from pipeline.objectives.update import Batch, Loss, Losses, Networks, Update

PARTS = ("mapping", "synthesis")
"""Of the generator: from latents to styles [n, L, W], a style for each layer; and from those to images."""


@dataclasses.dataclass(frozen=True)
class StyleMixing(Parameters):
    """How often styles are mixed; see the module."""

    style_mixing: float = parameter(
        0.0,
        "probability with which an image is made of two latents' styles in training (arXiv 1812.04948), for generators "
        "of a mapping and a synthesis, such as stylegan2, whose paper has 0.9; 0 mixes none.",
        minimum=0,
    )

    @classmethod
    def asked(cls, values: Mapping[str, Any], objective: Objective) -> Self | None:
        """Makes the term of a run that asks for it; otherwise None."""
        return cls.of(values) if values["style_mixing"] else None

    def check_with(self, values: Mapping[str, Any], objective: Objective) -> None:
        """See `Term`."""
        if self.style_mixing > 1:
            raise MirageError(f"--style_mixing={self.style_mixing} is no probability; expected at most 1.")
        codes = [f"--{name}={values[name]}" for name in ("categories", "codes") if values.get(name)]
        if codes:
            raise MirageError(
                f"--style_mixing={self.style_mixing} does not go with {codes[0]}, which guesses what an image was made "
                "of: one latent, not two; leave one of them out."
            )
        refuse_without_game(self, "style_mixing", values, objective)

    def needs(self, needs: Needs, num_labels: int) -> Needs:
        """See `Term`."""
        return dataclasses.replace(needs, parts=PARTS)

    def add_to(self, updates: tuple[Update, ...]) -> tuple[Update, ...]:
        """Mixes styles wherever an update generates."""
        return tuple(dataclasses.replace(each, loss=self._mixed(each.loss), needs_mixing=True) for each in updates)

    def _mixed(self, loss: Loss) -> Loss:
        def mixed(networks: Networks, batch: Batch) -> Losses:
            def generator(z: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
                styles = mixed_styles(networks, z, labels, batch.mixing, self.style_mixing)
                return networks["synthesis"](styles, labels)

            return loss({**networks, "generator": generator}, batch)

        return mixed


def refuse_without_game(term: Parameters, name: str, values: Mapping[str, Any], objective: Objective) -> None:
    """Refuses a term where no generator plays against a discriminator; raises MirageError."""
    if not getattr(objective, "discriminator", True):
        why = "which has no discriminator"
        refuse(term.to_dict(), (name,), f"objective={values['objective']}", why, "leave it out")


def mixed_styles(
    networks: Networks, z: tf.Tensor, labels: tf.Tensor, mixing: tf.Tensor, probability: float
) -> tf.Tensor:
    """Maps latents to styles, some of which are another latent's from some layer on.

    Args:
      networks: with the generator's `mapping`.
      z: float32 [n, latent_dim].
      labels: int32 [n].
      mixing: float32 [n, latent_dim + 1], standard normal: the other latent, and what decides whether and where.
      probability: of mixing.

    Returns:
      float32 [n, L, W].
    """
    if z.shape[0] != mixing.shape[0]:
        raise MirageError(
            f"the objective generates {z.shape[0]} images where its batch has {mixing.shape[0]}, and --style_mixing "
            "has no other latents for them; use --style_mixing=0."
        )
    both = networks["mapping"](tf.concat([z, mixing[:, :-1]], 0), tf.concat([labels, labels], 0))
    own, other = tf.split(both, 2)
    layers = own.shape[1]
    u = 0.5 * (1 + tf.math.erf(mixing[:, -1] / math.sqrt(2)))  # uniform in [0, 1]
    # Below the probability it is uniform as well, and says after which layer: the first to the last but one.
    place = tf.minimum(1 + tf.floor(u / probability * (layers - 1)), layers - 1.0)
    place = tf.where(u < probability, place, float(layers))
    is_own = tf.range(layers, dtype=tf.float32)[None] < place[:, None]
    return tf.where(is_own[..., None], own, other)
