"""What an objective consists of: updates, each with its loss and the network whose weights it moves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from pipeline.base.libraries import tf

Networks: TypeAlias = "Mapping[str, Callable[[tf.Tensor, tf.Tensor], Any]]"
"""A network by name, as a function of its input and the labels, in training mode.

    generator:      z [n, latent_dim], labels [n], or [n, A] of attributes -> images [n, H, W, C]
    discriminator:  images [n, H, W, C], labels [n] -> logits [n], or [n, J] if it judges each image J times, see
                    `judged`; or a dictionary, see `with_head`;
                    in the place of labels it takes noise [n, M] if it is a noisy network
    encoder:        images [n, H, W, C], labels [n] -> codes

and the models within the generator by their names, see `pipeline.base.needs.Needs.parts`:

    mapping:        z [n, latent_dim], labels [n] -> styles [n, L, W]
    synthesis:      styles [n, L, W], labels [n] -> images [n, H, W, C]

Labels are ignored by unconditional networks.
"""


@dataclasses.dataclass(frozen=True)
class Batch:
    """One replica's share of the data of one update.

    Attributes:
      images: training images, float32 [n, H, W, C] in [-1, 1].
      labels: their labels, int32 [n], or of attributes float32 [n, A]; generated images are given the same labels, so
        that classes are as frequent among them as in the data.
      z: latents, float32 [n, latent_dim], standard normal.
      u: float32 [n], uniform in [0, 1), for updates that ask for it; otherwise zeros.
      step: int64 scalar, number of the training step.
      augmentation: float32 [n, 2, k], uniform in [0, 1): for each real and each generated image, for updates that ask
        for k of them.
      pixels: float32 [n, 2, H * W * C], standard normal: for each real and each generated image, for updates that ask
        for it; otherwise [n, 2, 0].
      state: float32 scalars by name, which the objective moves from step to step, see `Composition.next_state`.
      noise: float32 [n, k, M], standard normal: what a noisy discriminator takes with each of k images, for updates
        that ask for it; otherwise [n, 0, M].
      seen: float32 scalar, real images that the training has seen before this step, for what follows a schedule.
      mixing: float32 [n, latent_dim + 1], standard normal: another latent for each image and a number more, for updates
        that ask for it; otherwise None.
      directions: float32 [n, H, W, C], standard normal, for updates that ask for it; otherwise None.
    """

    images: tf.Tensor
    labels: tf.Tensor
    z: tf.Tensor
    u: tf.Tensor
    step: tf.Tensor
    augmentation: tf.Tensor
    pixels: tf.Tensor
    state: Mapping[str, tf.Tensor]
    noise: tf.Tensor
    seen: tf.Tensor | float = 0.0
    mixing: tf.Tensor | None = None
    directions: tf.Tensor | None = None


Losses: TypeAlias = "tuple[tf.Tensor, dict[str, tf.Tensor]]"
"""The loss of each sample, float32 [n], and what to log, each float32 [n]: their means over the global batch, and over
the updates that report the same name, are the logged figures.
"""

Loss: TypeAlias = "Callable[[Networks, Batch], Losses]"
"""A function of the networks and a batch."""


@dataclasses.dataclass(frozen=True)
class Update:
    """One optimiser update.

    Attributes:
      network: name of the network whose weights move, or several joined by `+`.
      loss: the loss to minimise.
      metrics: names of what the loss reports.
      batch_divisor: the update uses the global batch divided by this number.
      new_images: whether the update takes new training images; otherwise it is given the
        images of the update before it.
      needs_u: whether the loss uses `Batch.u`.
      needs_augmentation: how many numbers per image it uses of `Batch.augmentation`.
      needs_pixels: whether it uses `Batch.pixels`.
      needs_noise: for how many images per sample it uses `Batch.noise`.
      needs_mixing: whether the loss uses `Batch.mixing`.
      needs_directions: whether the loss uses `Batch.directions`.
    """

    network: str
    loss: Loss
    metrics: tuple[str, ...]
    batch_divisor: int = 1
    new_images: bool = True
    needs_u: bool = False
    needs_augmentation: int = 0
    needs_pixels: bool = False
    needs_noise: int = 0
    needs_mixing: bool = False
    needs_directions: bool = False


def global_mean(values: tf.Tensor) -> tf.Tensor:
    """Means over the samples of all replicas, for losses that need them: [n, ...] to [...].

    Each replica must have as many samples; of accumulated batches it is the mean of one at a time.
    """
    context = tf.distribute.get_replica_context()
    mean = tf.reduce_mean(values, axis=0)
    if context is None or context.num_replicas_in_sync == 1:
        return mean
    return context.all_reduce(tf.distribute.ReduceOp.SUM, mean) / context.num_replicas_in_sync


def per_image(values: tf.Tensor) -> tf.Tensor:
    """Means over the judgements of each image, [n, J] to [n]; what is [n] stays as it is."""
    return tf.reduce_mean(values, axis=1) if values.shape.rank == 2 else values


def judged(loss: Loss) -> Loss:
    """Lets a loss of one logit for each image train a discriminator that judges each several times.

    Args:
      loss: computes with logits by themselves, or with others in the same place.

    Returns:
      A loss that takes the means over an image's judgements of what that one returns for each.
    """

    def averaged(networks: Networks, batch: Batch) -> Losses:
        counts: set[int] = set()

        def discriminator(images: tf.Tensor, labels: tf.Tensor) -> Any:
            returned = networks["discriminator"](images, labels)
            logits = returned["logits"] if isinstance(returned, Mapping) else returned
            counts.update(logits.shape[1:])
            return returned

        if "discriminator" not in networks:
            return loss(networks, batch)
        made = loss({**networks, "discriminator": discriminator}, batch)
        if not counts:
            return made

        def mean(values: Any) -> Any:
            several = tf.is_tensor(values) and values.shape.rank == 2 and values.shape[1] in counts
            return per_image(values) if several else values

        return mean(made[0]), {name: mean(values) for name, values in made[1].items()}

    return averaged


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


def with_head(networks: Networks, name: str) -> tuple[Networks, list[tf.Tensor]]:
    """Lets an objective that knows logits alone train a discriminator with more heads.

    Args:
      networks: with a "discriminator" that returns a dictionary.
      name: the head to take out.

    Returns:
      (networks whose discriminator returns what is left, or the logits alone; a list that receives the head's
      output, float32 [n, ...], of each call).
    """
    outputs: list[tf.Tensor] = []

    def discriminator(images: tf.Tensor, labels: tf.Tensor) -> Any:
        heads = dict(networks["discriminator"](images, labels))
        outputs.append(heads.pop(name))
        return heads if len(heads) > 1 else heads["logits"]

    return {**networks, "discriminator": discriminator}, outputs
