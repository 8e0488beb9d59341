"""Wasserstein GAN with gradient penalty (Gulrajani et al. 2017, arXiv 1704.00028, algorithm 1).

    L_D = D(G(z)) - D(x) + lambda (|grad D(x')| - 1)^2,    x' = u x + (1 - u) G(z),  u uniform in [0, 1)
    L_G = -D(G(z))

D, here a critic, is trained several times for each update of G (`--d_steps`; the paper uses 5). The logged
`wasserstein` is its estimate of the distance, D(x) - D(G(z)).
"""

import functools

import tensorflow as tf

from pipeline.objectives.penalties import gradient_norm_penalty
from pipeline.objectives.update import Batch, Losses, Networks, Update, real_and_generated

# Of the penalty, where none is given: the paper's.
WEIGHT = 10.0


def _d(networks: Networks, batch: Batch, *, weight: float) -> Losses:
    generated = networks["generator"](batch.z, batch.labels)
    real, fake = tf.split(networks["discriminator"](*real_and_generated(batch, generated)), 2)
    penalty = gradient_norm_penalty(networks, batch, generated)
    loss = fake - real + weight * penalty
    return loss, {"d_loss": loss, "wasserstein": real - fake, "gp": penalty}


def _g(networks: Networks, batch: Batch) -> Losses:
    generated = networks["generator"](batch.z, batch.labels)
    loss = -networks["discriminator"](generated, batch.labels)
    return loss, {"g_loss": loss}


def updates(*, weight: float, d_steps: int) -> tuple[Update, ...]:
    """Returns the updates of one step.

    Args:
      weight: the paper's lambda.
      d_steps: updates of D, the paper's n_critic.
    """
    loss = functools.partial(_d, weight=weight)
    d = Update("discriminator", loss, ("d_loss", "wasserstein", "gp"), needs_u=True)
    return (*[d] * d_steps, Update("generator", _g, ("g_loss",), new_images=False))
