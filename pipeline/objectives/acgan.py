"""The auxiliary classifier of AC-GAN (Odena et al. 2016, arXiv 1610.09585), beside any adversarial loss.

D names the class of real and of generated images; the cross-entropy of that, L_C, is added to D's loss, and
that of generated images to G's, so that G makes images of which the class can be told. Where labels are attributes, D
names these: in the place of the cross-entropy stands the mean over attributes of the binary cross-entropy of those that
are 0 or 1, and of the squared error of the others, scaled to -1 to 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from pipeline.base.affine import affine
from pipeline.base.libraries import tf
from pipeline.base.needs import Needs
from pipeline.base.parameters import Parameters, parameter
from pipeline.objectives.objective import Objective
from pipeline.objectives.update import Batch, Losses, Networks, Update, with_head
from serving.contract.attributes import BINARY, Attribute


@dataclasses.dataclass(frozen=True)
class ACGAN(Parameters):
    """The class losses to add; see the module."""

    class_weight: float = parameter(
        1.0, "weight of acgan's losses, of classes or attributes.", minimum=0, automatic=True
    )

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
        return tuple(_with_head(update, "class", "classes", self.class_weight, _of_classes) for update in updates)

    def told(self, attributes: Sequence[Attribute]) -> Naming:
        """See `Term`."""
        return Naming(tuple(attributes), self.class_weight)


@dataclasses.dataclass(frozen=True)
class Naming:
    """The losses of attributes in the place of classes; see the module.

    Attributes:
      attributes: what labels are.
      weight: of their losses.
    """

    attributes: tuple[Attribute, ...]
    weight: float

    def needs(self, needs: Needs, num_labels: int) -> Needs:
        """See `Term`."""
        return dataclasses.replace(needs, heads={**needs.heads, "attributes": num_labels})

    def add_to(self, updates: tuple[Update, ...]) -> tuple[Update, ...]:
        """See `Term`."""
        return tuple(
            _with_head(update, "attribute", "attributes", self.weight, self._of_attributes) for update in updates
        )

    def _of_attributes(self, labels: tf.Tensor, named: tf.Tensor) -> tf.Tensor:
        scale, offset = affine(self.attributes)
        code = labels * tf.constant(scale) + tf.constant(offset)
        entropy = tf.nn.sigmoid_cross_entropy_with_logits((code + 1) / 2, named)
        is_binary = tf.constant([each.kind == BINARY for each in self.attributes])
        return tf.reduce_mean(tf.where(is_binary, entropy, tf.square(named - code)), axis=1)


def _of_classes(labels: tf.Tensor, named: tf.Tensor) -> tf.Tensor:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, named)


def _with_head(
    update: Update, what: str, head: str, weight: float, cost: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
) -> Update:
    """Adds to an update the cost, float32 [n], of what a head says, by labels."""
    name = f"{update.network[0]}_{what}_loss"

    def loss(networks: Networks, batch: Batch) -> Losses:
        networks, named = with_head(networks, head)
        value, metrics = update.loss(networks, batch)
        # D judges real and generated images together first; G's generated images come last.
        count = batch.labels.shape[0]
        halves = tf.split(named[0], named[0].shape[0] // count) if update.network == "discriminator" else named[-1:]
        losses = [cost(batch.labels, half) for half in halves]
        mean = tf.add_n(losses) / len(losses)
        return value + weight * mean, {**metrics, name: mean}

    return dataclasses.replace(update, loss=loss, metrics=(*update.metrics, name))
