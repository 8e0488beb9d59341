"""R3GAN: relativistic pairing with R1 and R2 (Huang et al. 2024, arXiv 2501.05441, section 2).

With f(t) = softplus(-t), D minimises over pairs of a real x and a generated G(z)

    L_D = f( D(x) - D(G(z)) ) + gamma/2 |grad_x D(x)|^2 + gamma/2 |grad_G(z) D(G(z))|^2

and G minimises f( D(G(z)) - D(x) ): each generated image is judged against a real one, which leaves
no loss landscape in which all real data is on one side, and the two zero-centred penalties make
training converge locally.

Only differences of logits mean something here, so the logged accuracy of D is the share of pairs
in which the real image has the larger logit.
"""

import functools

import tensorflow as tf

from pipeline.objectives.penalties import logits_and_penalty
from pipeline.objectives.update import Batch, Losses, Networks, Update, is_positive, real_and_generated


def pairing_loss(winner: tf.Tensor, loser: tf.Tensor) -> tf.Tensor:
    """f(winner - loser): small where the first logits exceed the second, [n]."""
    return tf.nn.softplus(loser - winner)


def _d(networks: Networks, batch: Batch, *, gamma: float) -> Losses:
    generated = networks["generator"](batch.z, batch.labels)
    logits, penalties = logits_and_penalty(networks, *real_and_generated(batch, generated))
    (real, fake), (r1, r2) = tf.split(logits, 2), tf.split(penalties, 2)
    adversarial = pairing_loss(real, fake)
    pairs_right = is_positive(real - fake)
    metrics = {"d_loss": adversarial, "d_acc_real": pairs_right, "d_acc_fake": pairs_right, "r1": r1, "r2": r2}
    return adversarial + gamma / 2 * (r1 + r2), metrics


def _g(networks: Networks, batch: Batch) -> Losses:
    generated = networks["generator"](batch.z, batch.labels)
    real = networks["discriminator"](batch.images, batch.labels)
    fake = networks["discriminator"](generated, batch.labels)
    loss = pairing_loss(fake, real)
    return loss, {"g_loss": loss}


def updates(*, gamma: float, d_steps: int) -> tuple[Update, ...]:
    """Returns the updates of one step: those of D, then one of G on the last of them's real images.

    Args:
      gamma: weight of the penalties.
      d_steps: updates of D, each on new images.
    """
    d = Update("discriminator", functools.partial(_d, gamma=gamma), ("d_loss", "d_acc_real", "d_acc_fake", "r1", "r2"))
    return (*[d] * d_steps, Update("generator", _g, ("g_loss",), new_images=False))
