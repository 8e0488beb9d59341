"""The auxiliary classifier of AC-GAN (Odena et al. 2016, arXiv 1610.09585), beside any adversarial loss.

D names the class of real and of generated images; the cross-entropy of that, L_C, is added to D's loss, and
that of generated images to G's, so that G makes images of which the class can be told.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from pipeline.base.libraries import tf
from pipeline.base.needs import Needs
from pipeline.base.parameters import Parameters, parameter
from pipeline.objectives.objective import Objective
from pipeline.objectives.update import Batch, Loss, Losses, Networks, Update, with_head


@dataclasses.dataclass(frozen=True)
class ACGAN(Parameters):
    """The class losses to add; see the module."""

    class_weight: float = parameter(1.0, "weight of acgan's class losses.", minimum=0, automatic=True)

    @classmethod
    def asked(cls, values: Mapping[str, Any], objective: Objective) -> Self | None:
        """Makes the term of a run that asks for it; otherwise None."""
        return cls.of(values) if values["conditional"] and "acgan" in values["conditioning"].split(",") else None

    def check_with(self, values: Mapping[str, Any], objective: Objective) -> None:
        """See `Term`."""

    def needs(self, needs: Needs, num_labels: int) -> Needs:
        """See `Term`."""
        return dataclasses.replace(needs, heads={**needs.heads, "classes": num_labels})

    def add_to(self, updates: tuple[Update, ...]) -> tuple[Update, ...]:
        """Adds the class losses to each update of an objective, which itself sees the logits alone."""
        return tuple(
            dataclasses.replace(
                update, loss=_with_classes(update, self.class_weight), metrics=(*update.metrics, _name(update))
            )
            for update in updates
        )


def _name(update: Update) -> str:
    return f"{update.network[0]}_class_loss"


def _with_classes(update: Update, weight: float) -> Loss:
    def loss(networks: Networks, batch: Batch) -> Losses:
        networks, named = with_head(networks, "classes")
        value, metrics = update.loss(networks, batch)
        # D judges real and generated images together first; G's generated images come last.
        count = batch.labels.shape[0]
        halves = tf.split(named[0], named[0].shape[0] // count) if update.network == "discriminator" else named[-1:]
        losses = [tf.nn.sparse_softmax_cross_entropy_with_logits(batch.labels, half) for half in halves]
        classes = tf.add_n(losses) / len(losses)
        return value + weight * classes, {**metrics, _name(update): classes}

    return loss
