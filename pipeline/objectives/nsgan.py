"""The non-saturating GAN (Goodfellow et al. 2014, arXiv 1406.2661, section 3).

With p = sigmoid(logits), D minimises the binary cross-entropy

    L_D = 1/2 [ -log p(x) - log(1 - p(G(z))) ]

and G minimises -log p(G(z)) rather than the log(1 - p(G(z))) of the minimax game, whose gradient
vanishes while D is winning. In terms of logits l, -log p = softplus(-l) and -log(1 - p) = softplus(l).
The factor 1/2 makes L_D the mean over all 2N images that D judges, ln 2 at equilibrium.
"""

import tensorflow as tf

from pipeline.objectives.update import Adversarial, Batch, Losses, Networks, Update, is_positive


def d_loss_real(logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of calling images real that are real: -log p, [n]."""
    return tf.nn.softplus(-logits)


def d_loss_fake(logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of calling images generated that are generated: -log(1 - p), [n]."""
    return tf.nn.softplus(logits)


def g_loss(logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of having D call generated images real: -log p, [n]."""
    return tf.nn.softplus(-logits)


OBJECTIVE = Adversarial(d_loss_real, d_loss_fake, g_loss, d_weight=0.5)


def _d_on_real(networks: Networks, batch: Batch) -> Losses:
    logits = networks["discriminator"](batch.images, batch.labels)
    loss = d_loss_real(logits)
    return loss, {"d_loss": loss, "d_acc_real": is_positive(logits)}


def _d_on_fake(networks: Networks, batch: Batch) -> Losses:
    generated = networks["generator"](batch.z, batch.labels)
    logits = networks["discriminator"](generated, batch.labels)
    loss = d_loss_fake(logits)
    return loss, {"d_loss": loss, "d_acc_fake": is_positive(-logits)}


def split_updates() -> tuple[Update, ...]:
    """Returns the updates of the classic Keras MNIST GAN.

    D sees half a batch of real, then half a batch of generated images, in an update each.
    """
    return (
        Update("discriminator", _d_on_real, ("d_loss", "d_acc_real"), batch_divisor=2),
        Update("discriminator", _d_on_fake, ("d_loss", "d_acc_fake"), batch_divisor=2, new_images=False),
        OBJECTIVE.updates(1)[-1],
    )
