"""R3GAN: relativistic pairing with R1 and R2 (Huang et al. 2024, arXiv 2501.05441, section 2).

With f(t) = softplus(-t), D minimises over pairs of a real x and a generated G(z)

    L_D = f( D(x) - D(G(z)) ) + gamma/2 |grad_x D(x)|^2 + gamma/2 |grad_G(z) D(G(z))|^2

and G minimises f( D(G(z)) - D(x) ): each generated image is judged against a real one, which leaves
no loss landscape in which all real data is on one side, and the two zero-centred penalties make
training converge locally.

Only differences of logits mean something here, so the logged accuracy of D is the share of pairs
in which the real image has the larger logit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from pipeline.base.errors import MirageError
from pipeline.base.libraries import tf
from pipeline.base.parameters import parameter
from pipeline.base.schedules import SCHEDULE_IMAGES, half_cosine
from pipeline.objectives.objective import Game
from pipeline.objectives.penalties import logits_and_penalty
from pipeline.objectives.update import Batch, Losses, Networks, Update, is_positive, per_image, real_and_generated


def pairing_loss(winner: tf.Tensor, loser: tf.Tensor) -> tf.Tensor:
    """f(winner - loser): small where the first logits exceed the second, [n]."""
    return tf.nn.softplus(loser - winner)


@dataclasses.dataclass(frozen=True)
class R3GAN(Game):
    """Relativistic pairing with R1 and R2; see the module."""

    paired: ClassVar[bool] = True
    gamma: float = parameter(
        0.5, "weight of R3GAN's two gradient penalties, each gamma / 2.", minimum=0, automatic=True
    )
    gamma_end: float = parameter(
        0.0,
        "what gamma has become after --schedule_images: a tenth of it in the paper; 0 keeps it constant.",
        minimum=0,
        strict=True,
    )
    schedule_images: int = SCHEDULE_IMAGES

    def updates(self) -> tuple[Update, ...]:
        """Returns `d_steps` updates of D, each on new images, then one of G on the last of them's real images."""
        d = Update("discriminator", self._d, ("d_loss", "d_acc_real", "d_acc_fake", "r1", "r2"))
        return (*[d] * self.d_steps, Update("generator", self._g, ("g_loss",), new_images=False))

    def check(self, values: Mapping[str, Any]) -> None:
        """See `Parameters`."""
        if values["r1"] or values["r2"]:
            raise MirageError("--r1 and --r2 do not go with --objective=r3gan, which has both: set --gamma.")

    def _d(self, networks: Networks, batch: Batch) -> Losses:
        generated = networks["generator"](batch.z, batch.labels)
        logits, penalties = logits_and_penalty(networks, *real_and_generated(batch, generated))
        (real, fake), (r1, r2) = tf.split(logits, 2), tf.split(penalties, 2)
        adversarial = per_image(pairing_loss(real, fake))
        pairs_right = is_positive(real - fake)
        metrics = {"d_loss": adversarial, "d_acc_real": pairs_right, "d_acc_fake": pairs_right, "r1": r1, "r2": r2}
        return adversarial + self._gamma(batch) / 2 * (r1 + r2), metrics

    def _gamma(self, batch: Batch) -> tf.Tensor | float:
        if not self.gamma_end:
            return self.gamma
        return half_cosine(batch.seen, self.gamma, self.gamma_end, self.schedule_images)

    def _g(self, networks: Networks, batch: Batch) -> Losses:
        generated = networks["generator"](batch.z, batch.labels)
        real = networks["discriminator"](batch.images, batch.labels)
        fake = networks["discriminator"](generated, batch.labels)
        loss = pairing_loss(fake, real)
        return loss, {"g_loss": loss}
