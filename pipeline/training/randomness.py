"""Random numbers of training: pure functions of (seed, step, position in the global batch).

Therefore a run can be replayed from its step number alone, and does not depend on the number of
replicas, workers or micro-batches beyond rounding.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

# Samples of a global batch: runs of consecutive ones, each as (position of the first, number).
Rows = Sequence[tuple[tf.Tensor | int, int]]

# Streams of random numbers, told apart in the seed.
_DATA_ORDER, _LATENTS, _FLIPS, _UNIFORM, _AUGMENTATION, _NOISE, _LAYERS, _CROPS = 1, 2, 3, 4, 5, 6, 7, 8
_PIXELS, _MIXING, _DIRECTIONS = 9, 10, 11
_NUMBERS_PER_COUNT = 4


@dataclasses.dataclass(frozen=True)
class _Philox:
    """Addresses numbers of Philox (Salmon et al. 2011), the algorithm that does not depend on the device.

    A key for each part of a stream, and 2**64 counts of its counter for each step: far less work per
    step than TensorFlow's way of folding numbers into a seed, which hashes again and again.
    """

    key: tf.Tensor
    step: tf.Tensor


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


def latents(step: tf.Tensor, update: int, rows: Rows, latent_dim: int, seed: int) -> tf.Tensor:
    """Draws latents of one update.

    Args:
      step: int64 scalar, number of the training step.
      update: index of the update within the step.
      rows: which samples of the global batch to draw for.
      latent_dim: components of each.
      seed: the run's seed.

    Returns:
      float32 [n, latent_dim], standard normal; those of a sample are always the same, whatever else is drawn.
    """
    return _draw(tf.raw_ops.StatelessRandomNormalV2, rows, latent_dim, _philox(seed, _LATENTS, step, update))


def uniform(step: tf.Tensor, update: int, rows: Rows, seed: int) -> tf.Tensor:
    """Draws a number in [0, 1) for each sample of one update, float32 [n]; see `latents`."""
    return _draw(tf.raw_ops.StatelessRandomUniformV2, rows, 1, _philox(seed, _UNIFORM, step, update))[:, 0]


def augmentation(step: tf.Tensor, update: int, rows: Rows, numbers: int, seed: int) -> tf.Tensor:
    """Draws what decides how images are augmented, uniform in [0, 1), float32 [n, numbers]; see `latents`."""
    return _draw(tf.raw_ops.StatelessRandomUniformV2, rows, numbers, _philox(seed, _AUGMENTATION, step, update))


def noise(step: tf.Tensor, update: int, rows: Rows, numbers: int, seed: int) -> tf.Tensor:
    """Draws what a noisy network adds to its layers, standard normal, float32 [n, numbers]; see `latents`."""
    return _draw(tf.raw_ops.StatelessRandomNormalV2, rows, numbers, _philox(seed, _NOISE, step, update))


def pixels(step: tf.Tensor, update: int, rows: Rows, numbers: int, seed: int) -> tf.Tensor:
    """Draws noise that images are augmented with, standard normal, float32 [n, numbers]; see `latents`."""
    return _draw(tf.raw_ops.StatelessRandomNormalV2, rows, numbers, _philox(seed, _PIXELS, step, update))


def mixing(step: tf.Tensor, update: int, rows: Rows, numbers: int, seed: int) -> tf.Tensor:
    """Draws other latents to mix styles with, and where to, standard normal, float32 [n, numbers]; see `latents`."""
    return _draw(tf.raw_ops.StatelessRandomNormalV2, rows, numbers, _philox(seed, _MIXING, step, update))


def directions(step: tf.Tensor, update: int, rows: Rows, numbers: int, seed: int) -> tf.Tensor:
    """Draws the images along which path lengths are measured, standard normal, float32 [n, numbers]; see `latents`."""
    return _draw(tf.raw_ops.StatelessRandomNormalV2, rows, numbers, _philox(seed, _DIRECTIONS, step, update))


def of_layer(
    kernel: Callable[..., tf.Tensor], step: tf.Tensor, call: int, rows: Rows, numbers: int, seed: int
) -> tf.Tensor:
    """Draws what a layer asks for.

    Args:
      kernel: TensorFlow's operation of Philox, or for XLA the same of `pipeline.training.compiled_philox`.
      step: int64 scalar, number of the training step.
      call: number of the layer's call within the step, below 2**24.
      rows: which samples to draw for.
      numbers: how many for each.
      seed: the run's seed.

    Returns:
      float32 [n, numbers].
    """
    # From a count of its own for each sample, as XLA can't cut at a place that is known only later.
    width = -(-numbers // _NUMBERS_PER_COUNT) * _NUMBERS_PER_COUNT
    return _draw(kernel, rows, width, _philox(seed, _LAYERS, step, call))[:, :numbers]


def flips(step: tf.Tensor, block: int, rows: Rows, seed: int) -> tf.Tensor:
    """Decides which training images are mirrored left to right.

    Args:
      step: int64 scalar, number of the training step.
      block: index of the block of images within the step.
      rows: which images of the block to decide for.
      seed: the run's seed.

    Returns:
      bool [n], each true with probability one half.
    """
    draw = functools.partial(tf.raw_ops.StatelessRandomUniformFullIntV2, dtype=tf.int32)
    return tf.greater(_draw(draw, rows, 1, _philox(seed, _FLIPS, step, block))[:, 0], -1)


def corners(step: tf.Tensor, block: int, rows: Rows, margin: tuple[int, int], seed: int) -> tf.Tensor:
    """Decides which part of each training image is shown.

    Args:
      step: int64 scalar, number of the training step.
      block: index of the block of images within the step.
      rows: which images of the block to decide for.
      margin: rows and columns that images have beyond those of a part.
      seed: the run's seed.

    Returns:
      int64 [n, 2], the part's first row and first column, each as likely as any other.
    """
    u = _draw(tf.raw_ops.StatelessRandomUniformV2, rows, 2, _philox(seed, _CROPS, step, block))
    # No int32, which TensorFlow would fetch from a GPU to the host; u is at most 1 - 2**-23.
    return tf.cast(u * (tf.constant(margin, tf.float32) + 1.0), tf.int64)


def _draw(operation: Callable[..., tf.Tensor], rows: Rows, width: int, philox: _Philox) -> tf.Tensor:
    """Draws `width` numbers for each row, [n, width], at a cost that depends on these rows alone.

    Each count of Philox's counter gives four numbers, so that any of them can be had without those before it.
    TensorFlow's kernels for CPUs and GPUs number them so; XLA's don't, and must not compile this.
    """
    parts = []
    for first, number in rows:
        start, size = first * width, number * width
        # What begins within a count is cut out of what the count gives.
        within = start % _NUMBERS_PER_COUNT
        cut = width % _NUMBERS_PER_COUNT != 0 and not (isinstance(within, int) and within == 0)
        counter = tf.stack([tf.cast(start // _NUMBERS_PER_COUNT, tf.uint64), philox.step])
        drawn = size + _NUMBERS_PER_COUNT - 1 if cut else size
        values = operation(shape=[drawn], key=philox.key, counter=counter, alg=1)
        parts.append(tf.reshape(values[within : within + size] if cut else values, [number, width]))
    return parts[0] if len(parts) == 1 else tf.concat(parts, 0)


def _philox(seed: int, stream: int, step: tf.Tensor, part: int) -> _Philox:
    return _Philox(tf.constant([seed | stream << 32 | part << 40], tf.uint64), tf.cast(step, tf.uint64))
