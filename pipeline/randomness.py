"""Random numbers of training: pure functions of (seed, step, position in the global batch).

Therefore a run can be replayed from its step number alone, and does not depend on the number of
replicas, workers or micro-batches beyond rounding.
"""

from typing import Any

import tensorflow as tf

# Streams of random numbers, told apart in the seed.
_DATA_ORDER, _LATENTS, _FLIPS, _UNIFORM, _AUGMENTATION, _NOISE = 1, 2, 3, 4, 5, 6


def data_order(positions: tf.Tensor, num_examples: int, seed: int) -> tf.Tensor:
    """Maps positions in the endless stream of training images to indices of examples.

    Epoch e is a pseudo-random permutation that depends on (seed, e) alone, so that each epoch visits
    each example exactly once, whatever the batch size; a batch may straddle two epochs.

    Args:
      positions: int64 [n], 0 for the first training image ever drawn.
      num_examples: size of the data set.
      seed: the run's seed.

    Returns:
      int64 [n], each in [0, num_examples).
    """
    count = tf.constant(num_examples, tf.int64)
    keys = tf.stack([tf.fill(positions.shape, tf.constant(seed, tf.int64)), positions // count], axis=1)
    keys = tf.pad(keys, [[0, 0], [0, 1]], constant_values=_DATA_ORDER)
    return tf.raw_ops.RandomIndexShuffle(index=positions % count, seed=keys, max_index=count - 1, rounds=4)


def latents(step: tf.Tensor, update: int, count: int, latent_dim: int, seed: int) -> tf.Tensor:
    """Draws the latents of one update for the whole global batch.

    Args:
      step: int64 scalar, number of the training step.
      update: index of the update within the step.
      count: global number of latents.
      latent_dim: components of each.
      seed: the run's seed.

    Returns:
      float32 [count, latent_dim], standard normal; always the same for the same arguments.
    """
    return tf.raw_ops.StatelessRandomNormalV2(shape=[count, latent_dim], **_philox(seed, _LATENTS, step, update))


def uniform(step: tf.Tensor, update: int, count: int, seed: int) -> tf.Tensor:
    """Draws a number in [0, 1) for each sample of one update's global batch, float32 [count]; see `latents`."""
    return tf.raw_ops.StatelessRandomUniformV2(shape=[count], **_philox(seed, _UNIFORM, step, update))


def augmentation(step: tf.Tensor, update: int, count: int, numbers: int, seed: int) -> tf.Tensor:
    """Draws what decides how images are augmented, uniform in [0, 1), float32 [count, numbers]; see `latents`."""
    return tf.raw_ops.StatelessRandomUniformV2(shape=[count, numbers], **_philox(seed, _AUGMENTATION, step, update))


def noise(step: tf.Tensor, update: int, count: int, numbers: int, seed: int) -> tf.Tensor:
    """Draws what a noisy network adds to its layers, standard normal, float32 [count, numbers]; see `latents`."""
    return tf.raw_ops.StatelessRandomNormalV2(shape=[count, numbers], **_philox(seed, _NOISE, step, update))


def flips(step: tf.Tensor, block: int, count: int, seed: int) -> tf.Tensor:
    """Decides which training images are mirrored left to right.

    Args:
      step: int64 scalar, number of the training step.
      block: index of the block of images within the step.
      count: global number of images.
      seed: the run's seed.

    Returns:
      bool [count], each true with probability one half.
    """
    bits = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=[count], dtype=tf.int32, **_philox(seed, _FLIPS, step, block)
    )
    return tf.greater(bits, -1)


def _philox(seed: int, stream: int, step: tf.Tensor, part: int) -> dict[str, Any]:
    """Addresses numbers of Philox (Salmon et al. 2011), the algorithm that does not depend on the device.

    A key for each part of a stream, and 2**64 counts of its counter for each step: far less work per
    step than TensorFlow's way of folding numbers into a seed, which hashes again and again.
    """
    return {
        "key": tf.constant([seed | stream << 32 | part << 40], tf.uint64),
        "counter": tf.stack([tf.zeros([], tf.uint64), tf.cast(step, tf.uint64)]),
        "alg": 1,
    }
