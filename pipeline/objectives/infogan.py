"""InfoGAN (Chen et al. 2016, arXiv 1606.03657): parts of the latent that can be read off the image.

A head Q of D guesses, from a generated image, a category and codes; G and Q both minimise

    L_I = -log Q(category | x) + 1/2 sum (code - Q_code(x))^2,

so that I = H(category) + codes / 2 - L_I, in nats, is a lower bound of the mutual information, for Q's normal
distribution of unit variance around its guess of each code. Latents stay standard normal: the codes are components
of z, and the category is the place of the largest of some others, which is uniform.
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
from pipeline.objectives.update import Batch, Loss, Losses, Networks, Update, with_head


@dataclasses.dataclass(frozen=True)
class InfoGAN(Parameters):
    """What shall be read off the images; see the module."""

    categories: int = parameter(
        0,
        "of how many categories the generator shall find one for each latent, without labels (arXiv 1606.03657): the "
        "place of the largest of z's first so many components.",
        minimum=0,
    )
    codes: int = parameter(
        0, "how many of z's components after those shall each say one thing of the image.", minimum=0
    )
    info_weight: float = parameter(1.0, "weight of the loss for --categories and --codes.", minimum=0)

    @classmethod
    def asked(cls, values: Mapping[str, Any], objective: Objective) -> Self | None:
        """Makes the term of a run that asks for it; otherwise None."""
        return cls.of(values) if values["categories"] or values["codes"] else None

    def check_with(self, values: Mapping[str, Any], objective: Objective) -> None:
        """See `Term`."""
        if not getattr(objective, "joint", True):
            way = "d_batches=split" if values["d_batches"] == "split" else f"objective={values['objective']}"
            remedy = "use another --objective such as nsgan, with --d_batches=joint"
            refuse(self.to_dict(), ("categories", "codes"), way, "whose updates don't all see generated images", remedy)
        if self.categories == 1:
            raise MirageError("--categories=1 says nothing; expected 2 or more, or 0 for none.")
        if self.categories + self.codes > values["latent_dim"]:
            raise MirageError(
                f"--categories={self.categories} and --codes={self.codes} are together more than "
                f"--latent_dim={values['latent_dim']}, whose components they are; raise that."
            )

    def needs(self, needs: Needs, num_labels: int) -> Needs:
        """See `Term`."""
        return dataclasses.replace(needs, heads={**needs.heads, "codes": self.categories + self.codes})

    def add_to(self, updates: tuple[Update, ...]) -> tuple[Update, ...]:
        """Adds L_I to each update of an objective, all of which see generated images."""
        return tuple(
            dataclasses.replace(
                update,
                loss=_informed(update.loss, self.categories, self.codes, self.info_weight),
                metrics=(*update.metrics, "mutual_information"),
            )
            for update in updates
        )


def info_loss(z: tf.Tensor, guess: tf.Tensor, categories: int, codes: int) -> tf.Tensor:
    """L_I of each image.

    Args:
      z: the images' latents, float32 [n, d].
      guess: Q's logits of categories, then its guesses of codes, float32 [n, categories + codes].
      categories: how many components of z, the first ones, decide the category; 0 for none.
      codes: how many components after those are codes.

    Returns:
      float32 [n], in nats.
    """
    end = categories + codes
    loss = 0.5 * tf.reduce_sum(tf.square(z[:, categories:end] - guess[:, categories:]), axis=1)
    if categories:
        category = tf.argmax(z[:, :categories], axis=1)
        loss += tf.nn.sparse_softmax_cross_entropy_with_logits(category, guess[:, :categories])
    return loss


def _informed(loss: Loss, categories: int, codes: int, weight: float) -> Loss:
    entropy = math.log(max(1, categories)) + codes / 2

    def informed(networks: Networks, batch: Batch) -> Losses:
        networks, guesses = with_head(networks, "codes")
        value, metrics = loss(networks, batch)
        count = batch.labels.shape[0]
        # Generated images come last: in D's joint batch behind the real ones, in G's update in the last call.
        guess = guesses[0] if guesses[0].shape[0] > count else guesses[-1]
        cost = info_loss(batch.z, guess[-count:], categories, codes)
        return value + weight * cost, {**metrics, "mutual_information": entropy - cost}

    return informed
