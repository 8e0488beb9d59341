"""InfoGAN (Chen et al. 2016, arXiv 1606.03657): parts of the latent that can be read off the image.

A head Q of D guesses, from a generated image, a category and codes; G and Q both minimise

    L_I = -log Q(category | x) + 1/2 sum (code - Q_code(x))^2,

so that I = H(category) + codes / 2 - L_I, in nats, is a lower bound of the mutual information, for Q's normal
distribution of unit variance around its guess of each code. Latents stay standard normal: the codes are components
of z, and the category is the place of the largest of some others, which is uniform.
"""

import dataclasses
import math

import tensorflow as tf

from pipeline.objectives.update import Batch, Loss, Losses, Networks, Update, with_head


def add_to(updates: tuple[Update, ...], categories: int, codes: int, weight: float) -> tuple[Update, ...]:
    """Adds L_I to each update.

    Args:
      updates: of an objective, all of which see generated images.
      categories: how many components of z, the first ones, decide the category; 0 for none.
      codes: how many components after those are codes.
      weight: of L_I, the paper's lambda.
    """
    return tuple(
        dataclasses.replace(
            update,
            loss=_informed(update.loss, categories, codes, weight),
            metrics=(*update.metrics, "mutual_information"),
        )
        for update in updates
    )


def info_loss(z: tf.Tensor, guess: tf.Tensor, categories: int, codes: int) -> tf.Tensor:
    """L_I of each image.

    Args:
      z: the images' latents, float32 [n, d].
      guess: Q's logits of categories, then its guesses of codes, float32 [n, categories + codes].
      categories: see `add_to`.
      codes: see `add_to`.

    Returns:
      float32 [n], in nats.
    """
    end = categories + codes
    loss = 0.5 * tf.reduce_sum(tf.square(z[:, categories:end] - guess[:, categories:]), axis=1)
    if categories:
        category = tf.argmax(z[:, :categories], axis=1)
        loss += tf.nn.sparse_softmax_cross_entropy_with_logits(category, guess[:, :categories])
    return loss


def _informed(loss: Loss, categories: int, codes: int, weight: float) -> Loss:
    entropy = math.log(max(1, categories)) + codes / 2

    def informed(networks: Networks, batch: Batch) -> Losses:
        networks, guesses = with_head(networks, "codes")
        value, metrics = loss(networks, batch)
        count = batch.labels.shape[0]
        # Generated images come last: in D's joint batch behind the real ones, in G's update in the last call.
        guess = guesses[0] if guesses[0].shape[0] > count else guesses[-1]
        cost = info_loss(batch.z, guess[-count:], categories, codes)
        return value + weight * cost, {**metrics, "mutual_information": entropy - cost}

    return informed
