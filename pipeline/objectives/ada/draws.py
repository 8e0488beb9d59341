"""From uniform random numbers to what the paper's transformations are chosen by."""

from __future__ import annotations

from pipeline.base.libraries import tf

_STEP = 2.0**-23  # between neighbouring uniform numbers


class Draws:
    """Takes each image's random numbers one after the other."""

    def __init__(self, numbers: tf.Tensor, p: tf.Tensor) -> None:
        """Starts with the first.

        Args:
          numbers: float32 [n, k], uniform in [0, 1).
          p: float32 scalar, the probability of each transformation.
        """
        self._left = iter(tf.unstack(numbers, axis=1))
        self.p = p

    def chosen(self, p: tf.Tensor | None = None) -> tf.Tensor:
        """Whether a transformation is applied to an image, bool [n]; with another probability, if one is given."""
        return next(self._left) < (self.p if p is None else p)

    def uniform(self, low: float, high: float) -> tf.Tensor:
        """Returns float32 [n], uniform in [low, high)."""
        return low + (high - low) * next(self._left)

    def one_of(self, count: int) -> tf.Tensor:
        """Returns float32 [n], each of 0 to count - 1 as likely as any other."""
        return tf.floor(next(self._left) * count)

    def normal(self, deviation: float) -> tf.Tensor:
        """Returns float32 [n] of mean 0 and this standard deviation."""
        # From the middle of what a number stands for, as 0 itself would be infinitely far out.
        return deviation * tf.math.ndtri(next(self._left) + _STEP / 2)

    def lognormal(self, octaves: float) -> tf.Tensor:
        """Returns float32 [n], factors whose logarithm to base 2 has mean 0 and this standard deviation."""
        return tf.pow(2.0, self.normal(octaves))


def product(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Multiplies small matrices, [n, i, j] by [n, j, k], always in full float32, which `tf.matmul` does not on GPUs."""
    return tf.reduce_sum(a[:, :, :, None] * b[:, None], axis=2)


def matrix(*rows: tuple[tf.Tensor | float, ...]) -> tf.Tensor:
    """Makes matrices of numbers and of tensors [n], of which there is at least one: float32 [n, i, j]."""
    like = next(tf.ones_like(each) for row in rows for each in row if tf.is_tensor(each))
    return tf.stack([tf.stack([like * each for each in row], 1) for row in rows], 1)
