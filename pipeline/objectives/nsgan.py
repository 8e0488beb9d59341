"""The non-saturating GAN (Goodfellow et al. 2014, arXiv 1406.2661, section 3).

With p = sigmoid(logits), D minimises the binary cross-entropy

    L_D = 1/2 [ -log p(x) - log(1 - p(G(z))) ]

and G minimises -log p(G(z)) rather than the log(1 - p(G(z))) of the minimax game, whose gradient
vanishes while D is winning. In terms of logits l, -log p = softplus(-l) and -log(1 - p) = softplus(l).
The factor 1/2 makes L_D the mean over all 2N images that D judges, ln 2 at equilibrium.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from pipeline.base.errors import MirageError
from pipeline.base.libraries import tf
from pipeline.base.parameters import parameter
from pipeline.objectives.adversarial import Adversarial
from pipeline.objectives.objective import refuse
from pipeline.objectives.update import Batch, Losses, Networks, Update, is_positive


def d_loss_real(logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of calling images real that are real: -log p, [n]."""
    return tf.nn.softplus(-logits)


def d_loss_fake(logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of calling images generated that are generated: -log(1 - p), [n]."""
    return tf.nn.softplus(logits)


def g_loss(logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of having D call generated images real: -log p, [n]."""
    return tf.nn.softplus(-logits)


def _d_on_real(networks: Networks, batch: Batch) -> Losses:
    logits = networks["discriminator"](batch.images, batch.labels)
    loss = d_loss_real(logits)
    return loss, {"d_loss": loss, "d_acc_real": is_positive(logits)}


def _d_on_fake(networks: Networks, batch: Batch) -> Losses:
    generated = networks["generator"](batch.z, batch.labels)
    logits = networks["discriminator"](generated, batch.labels)
    loss = d_loss_fake(logits)
    return loss, {"d_loss": loss, "d_acc_fake": is_positive(-logits)}


@dataclasses.dataclass(frozen=True)
class NSGAN(Adversarial):
    """The non-saturating GAN; see the module."""

    d_weight: ClassVar[float] = 0.5
    d_loss_real = staticmethod(d_loss_real)
    d_loss_fake = staticmethod(d_loss_fake)
    g_loss = staticmethod(g_loss)
    d_batches: str = parameter(
        "joint",
        "joint: the discriminator sees a batch of real and a batch of generated images in one "
        "update; split: half a batch of each in two updates (nsgan only).",
        choices=("joint", "split"),
        strict=True,
    )

    @property
    def joint(self) -> bool:
        """See `Objective`."""
        return self.d_batches == "joint"

    def updates(self) -> tuple[Update, ...]:
        """See `Objective`; split batches are those of the classic Keras MNIST GAN."""
        if self.joint:
            return super().updates()
        return (
            Update("discriminator", _d_on_real, ("d_loss", "d_acc_real"), batch_divisor=2),
            Update("discriminator", _d_on_fake, ("d_loss", "d_acc_fake"), batch_divisor=2, new_images=False),
            super().updates()[-1],
        )

    def check(self, values: Mapping[str, Any]) -> None:
        """See `Parameters`."""
        if self.joint:
            return
        why = "in which no update of D sees both real and generated images"
        refuse(values, ("d_steps",), "d_batches=split", why, "use --d_batches=joint")
        if values["batch_size"] % 2:
            size = values["batch_size"]
            raise MirageError(f"--batch_size={size} can't be halved for --d_batches=split; make it even.")
