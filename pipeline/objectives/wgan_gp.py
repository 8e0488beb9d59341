"""Wasserstein GAN with gradient penalty (Gulrajani et al. 2017, arXiv 1704.00028, algorithm 1).

    L_D = D(G(z)) - D(x) + lambda (|grad D(x')| - 1)^2,    x' = u x + (1 - u) G(z),  u uniform in [0, 1)
    L_G = -D(G(z))

D, here a critic, is trained several times for each update of G (`--d_steps`; the paper uses 5). The logged
`wasserstein` is its estimate of the distance, D(x) - D(G(z)).
"""

from __future__ import annotations

import dataclasses

from pipeline.base.libraries import tf
from pipeline.objectives.objective import Game
from pipeline.objectives.penalties import GP, gradient_norm_penalty
from pipeline.objectives.update import Batch, Losses, Networks, Update, per_image, real_and_generated

# Of the penalty, where none is given: the paper's.
WEIGHT = 10.0


@dataclasses.dataclass(frozen=True)
class WGANGP(Game):
    """The Wasserstein GAN with gradient penalty; see the module."""

    gp: float = GP

    def updates(self) -> tuple[Update, ...]:
        """Returns `d_steps` updates of D, the paper's n_critic, and one of G."""
        d = Update("discriminator", self._d, ("d_loss", "wasserstein", "gp"), needs_u=True)
        return (*[d] * self.d_steps, Update("generator", self._g, ("g_loss",), new_images=False))

    def _d(self, networks: Networks, batch: Batch) -> Losses:
        generated = networks["generator"](batch.z, batch.labels)
        real, fake = tf.split(networks["discriminator"](*real_and_generated(batch, generated)), 2)
        penalty = gradient_norm_penalty(networks, batch, generated)
        loss = per_image(fake - real) + (self.gp or WEIGHT) * penalty
        return loss, {"d_loss": loss, "wasserstein": real - fake, "gp": penalty}

    def _g(self, networks: Networks, batch: Batch) -> Losses:
        generated = networks["generator"](batch.z, batch.labels)
        loss = -networks["discriminator"](generated, batch.labels)
        return loss, {"g_loss": loss}
