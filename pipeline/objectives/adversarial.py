"""Games whose losses are functions of one logit each; arXiv 1406.2661 and its children. Subclasses state the losses."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from pipeline.base.libraries import tf
from pipeline.objectives.objective import Game
from pipeline.objectives.update import Batch, Losses, Networks, Update, is_positive, real_and_generated


@dataclasses.dataclass(frozen=True)
class Adversarial(Game):
    """A game whose losses are functions of one logit each; subclasses say which.

    Attributes:
      boundary: logit above which D says "real".
      d_weight: factor of the sum of both of D's losses.
    """

    absolute: ClassVar[bool] = True
    boundary: ClassVar[float] = 0.0
    d_weight: ClassVar[float] = 1.0

    @staticmethod
    def d_loss_real(logits: tf.Tensor) -> tf.Tensor:
        """D's loss of its logits of real images, [n]."""
        raise NotImplementedError

    @staticmethod
    def d_loss_fake(logits: tf.Tensor) -> tf.Tensor:
        """D's loss of its logits of generated images, [n]."""
        raise NotImplementedError

    @staticmethod
    def g_loss(logits: tf.Tensor) -> tf.Tensor:
        """G's loss of D's logits of generated images, [n]."""
        raise NotImplementedError

    def updates(self) -> tuple[Update, ...]:
        """Returns `d_steps` updates of D, each on new images, and one of G."""
        d = Update("discriminator", self._d, ("d_loss", "d_acc_real", "d_acc_fake"))
        return (*[d] * self.d_steps, Update("generator", self._g, ("g_loss",), new_images=False))

    def _d(self, networks: Networks, batch: Batch) -> Losses:
        generated = networks["generator"](batch.z, batch.labels)
        real, fake = tf.split(networks["discriminator"](*real_and_generated(batch, generated)), 2)
        loss = self.d_weight * (self.d_loss_real(real) + self.d_loss_fake(fake))
        accuracies = {
            "d_acc_real": is_positive(real - self.boundary),
            "d_acc_fake": is_positive(self.boundary - fake),
        }
        return loss, {"d_loss": loss, **accuracies}

    def _g(self, networks: Networks, batch: Batch) -> Losses:
        generated = networks["generator"](batch.z, batch.labels)
        loss = self.g_loss(networks["discriminator"](generated, batch.labels))
        return loss, {"g_loss": loss}
