"""Random numbers of training: pure functions of (seed, step, position in the global batch).

Therefore a run can be replayed from its step number alone, and does not depend on the number of
replicas, workers or micro-batches beyond rounding.
"""

import tensorflow as tf

# Streams of random numbers, told apart in the seed.
_DATA_ORDER, _LATENTS, _FLIPS = 1, 2, 3


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
    epochs = positions // count
    stream = tf.fill(tf.shape(positions, tf.int64), tf.constant(_DATA_ORDER, tf.int64))
    keys = tf.stack([tf.fill(tf.shape(positions, tf.int64), tf.constant(seed, tf.int64)), epochs, stream], axis=1)
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
    # The algorithm is named, because the default one depends on the device.
    return tf.random.stateless_normal([count, latent_dim], _key(seed, _LATENTS, step, update), alg="philox")


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
    bits = tf.random.stateless_uniform([count], _key(seed, _FLIPS, step, block), 0, 2, tf.int32, alg="philox")
    return tf.cast(bits, tf.bool)


def _key(seed: int, stream: int, step: tf.Tensor, part: int) -> tf.Tensor:
    key = tf.random.experimental.stateless_fold_in(tf.constant([seed, stream], tf.int64), step)
    return tf.random.experimental.stateless_fold_in(key, part)
