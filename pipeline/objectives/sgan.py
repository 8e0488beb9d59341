"""Semi-supervised GAN (Salimans et al. 2016, arXiv 1606.03498, section 5, and feature matching, section 3.1).

D names one of K classes. With logits l, an image is real with probability p = Z / (Z + 1), Z = sum exp l_k, so
its logit for "real" is log Z. D minimises

    L_D = -log softmax(l(x_labelled))_y  +  weight * 1/2 [ -log p(x) - log(1 - p(G(z))) ]

over a few labelled images, and real and generated ones without labels. G matches features f, D's last layer
before the logits, in the mean over the global batch: L_G = |E f(x) - E f(G(z))|^2. D is a noisy network.
"""

import functools

import numpy as np
import tensorflow as tf

from pipeline.objectives.nsgan import d_loss_fake, d_loss_real
from pipeline.objectives.update import Batch, Losses, Networks, Update, is_positive

# Images uint8 [m, H, W, C] and labels int32 [m].
Labelled = tuple[np.ndarray, np.ndarray]


def _d(networks: Networks, batch: Batch, *, labelled: Labelled, weight: float) -> Losses:
    chosen = tf.cast(batch.u * len(labelled[0]), tf.int32)
    images = tf.cast(tf.gather(tf.constant(labelled[0]), chosen), tf.float32) / 127.5 - 1
    marks = tf.gather(tf.constant(labelled[1]), chosen)
    for_labelled, for_others = batch.noise[:, 0], batch.noise[:, 1:]
    classes = networks["discriminator"](images, for_labelled)["classes"]
    supervised = tf.nn.sparse_softmax_cross_entropy_with_logits(marks, classes)
    wrong = 1 - tf.cast(tf.equal(tf.argmax(classes, 1, tf.int32), marks), tf.float32)
    generated = networks["generator"](batch.z, batch.labels)
    real, fake = _real_and_generated(networks, batch.images, generated, for_others, "logits")
    unsupervised = 0.5 * (d_loss_real(real) + d_loss_fake(fake))
    loss = supervised + weight * unsupervised
    accuracies = {"d_acc_real": is_positive(real), "d_acc_fake": is_positive(-fake)}
    return loss, {"d_loss": loss, **accuracies, "class_loss": supervised, "class_error": wrong}


def _g(networks: Networks, batch: Batch) -> Losses:
    generated = networks["generator"](batch.z, batch.labels)
    real, fake = _real_and_generated(networks, batch.images, generated, batch.noise, "features")
    difference = global_mean(tf.stop_gradient(real)) - global_mean(fake)
    loss = tf.fill(tf.shape(batch.u), tf.reduce_sum(tf.square(difference)))
    return loss, {"g_loss": loss}


def _real_and_generated(
    networks: Networks, images: tf.Tensor, generated: tf.Tensor, noise: tf.Tensor, head: str
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns what a head of D says of real and of generated images; `noise` is [n, 2, M]."""
    each = tf.concat(tf.unstack(noise, axis=1), 0)
    real, fake = tf.split(networks["discriminator"](tf.concat([images, generated], 0), each)[head], 2)
    return real, fake


def global_mean(features: tf.Tensor) -> tf.Tensor:
    """Mean over the samples of all replicas, [n, d] to [d]; each replica must have as many."""
    context = tf.distribute.get_replica_context()
    mean = tf.reduce_mean(features, axis=0)
    if context is None or context.num_replicas_in_sync == 1:
        return mean
    return context.all_reduce(tf.distribute.ReduceOp.SUM, mean) / context.num_replicas_in_sync


def updates(labelled: Labelled, *, weight: float) -> tuple[Update, ...]:
    """Returns the updates of one step.

    Args:
      labelled: the few labelled images.
      weight: of D's loss without labels; 0 leaves a plain classifier, to compare with.
    """
    d = Update(
        "discriminator",
        functools.partial(_d, labelled=labelled, weight=weight),
        ("d_loss", "d_acc_real", "d_acc_fake", "class_loss", "class_error"),
        needs_u=True,
        needs_noise=3,
    )
    return (d, Update("generator", _g, ("g_loss",), new_images=False, needs_noise=2))
