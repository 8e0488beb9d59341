"""What changes over a run: learning rate and the half life of the average generator, as functions of images seen."""

import math

import tensorflow as tf


def images_seen(steps: tf.Tensor, images_per_step: int) -> tf.Tensor:
    """Counts real training images over all replicas and updates: the unit of every flag and figure called "images".

    Args:
      steps: int64 scalar, steps done.
      images_per_step: see `pipeline.training.feed.Layout`.

    Returns:
      float32 scalar.
    """
    return tf.cast(steps, tf.float32) * images_per_step


def learning_rate(images: tf.Tensor, base: float, warmup_images: int, decay_images: int, end: float = 0.0) -> tf.Tensor:
    """Rises linearly at first, and falls along half a cosine (Loshchilov and Hutter 2016, arXiv 1608.03983).

    Args:
      images: float32 scalar, images seen before this update.
      base: the rate between rise and fall.
      warmup_images: length of the rise; 0 leaves it out.
      decay_images: where the rate reaches its end, counted from the start; 0 means that it doesn't fall.
      end: where it stays then.

    Returns:
      float32 scalar.
    """
    rate = tf.constant(base)
    if warmup_images:
        rate *= tf.minimum(1.0, (images + 1.0) / warmup_images)
    if decay_images:
        left = 0.5 * (1.0 + tf.cos(math.pi * tf.minimum(1.0, images / decay_images)))
        rate *= left + (1.0 - left) * (end / base if base else 0.0)
    return rate


def ema_half_life(images: tf.Tensor, final: int, warmup: float) -> tf.Tensor:
    """The half life grows with the run at first, so that early averages forget the initial weights.

    As in the code of Karras et al. 2020 (arXiv 2006.06676), which ramps it up over 5 % of the images seen.

    Args:
      images: float32 scalar, images seen, at least 1.
      final: half life to reach, in images.
      warmup: share of the images seen; 0 takes the final half life from the start.

    Returns:
      float32 scalar, in images.
    """
    return tf.minimum(float(final), warmup * images) if warmup else tf.constant(float(final))
