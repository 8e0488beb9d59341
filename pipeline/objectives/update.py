"""What an objective consists of: updates, each with its loss and the network whose weights it moves."""

import dataclasses
from collections.abc import Callable, Mapping

import tensorflow as tf

# A network by name, as a function of its input and the labels, in training mode:
#   generator:      z [n, latent_dim], labels [n] -> images [n, H, W, C]
#   discriminator:  images [n, H, W, C], labels [n] -> logits [n]
# Labels are ignored by unconditional networks.
Networks = Mapping[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class Batch:
    """One replica's share of the data of one update.

    Attributes:
      images: training images, float32 [n, H, W, C] in [-1, 1].
      labels: their labels, int32 [n]; generated images are given the same labels, so that classes
        are as frequent among them as in the data.
      z: latents, float32 [n, latent_dim], standard normal.
    """

    images: tf.Tensor
    labels: tf.Tensor
    z: tf.Tensor


# Returns the loss of each sample, float32 [n], and what to log, each float32 [n]: their means over
# the global batch, and over the updates that report the same name, are the logged figures.
Loss = Callable[[Networks, Batch], tuple[tf.Tensor, dict[str, tf.Tensor]]]


@dataclasses.dataclass(frozen=True)
class Update:
    """One optimiser update.

    Attributes:
      network: name of the network whose weights move.
      loss: the loss to minimise.
      metrics: names of what the loss reports.
      batch_divisor: the update uses the global batch divided by this number.
      new_images: whether the update takes new training images; otherwise it is given the
        images of the update before it.
    """

    network: str
    loss: Loss
    metrics: tuple[str, ...]
    batch_divisor: int = 1
    new_images: bool = True


def is_positive(x: tf.Tensor) -> tf.Tensor:
    """Returns 1 where `x` is positive and 0 elsewhere, float32."""
    return tf.cast(x > 0, tf.float32)


def real_and_generated(batch: Batch, generated: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Joins both halves that the discriminator judges; faster than one after the other, as convolutions go.

    Args:
      batch: real images and labels.
      generated: images with the same labels, float32 [n, H, W, C].

    Returns:
      (images [2n, H, W, C], labels [2n]), the real ones first.
    """
    return tf.concat([batch.images, generated], 0), tf.concat([batch.labels, batch.labels], 0)
