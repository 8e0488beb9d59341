"""Philox 4x32-10 (Salmon et al. 2011) in plain operations, for what XLA compiles.

XLA's own numbers the counts in another way than TensorFlow's kernels for CPUs and GPUs, which are many times as fast
where each operation is computed by itself. Uniform numbers are those kernels' to the last bit.
"""

import math
from collections.abc import Sequence

import tensorflow as tf

_ROUNDS = 10
_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_INCREMENTS = 0x9E3779B9, 0xBB67AE85
_MANTISSA = 23  # bits of a float32


def uniform(*, shape: Sequence[int], key: tf.Tensor, counter: tf.Tensor, alg: int) -> tf.Tensor:
    """Computes what `tf.raw_ops.StatelessRandomUniformV2` does.

    Args:
      shape: [number].
      key: uint64 [1].
      counter: uint64 [2]; the first one advances with each four numbers.
      alg: 1, for Philox.

    Returns:
      float32 [number], in [0, 1).
    """
    assert alg == 1
    words = _words(-(-shape[0] // 4), key, counter)[: shape[0]]
    mantissas = tf.cast(tf.bitwise.bitwise_and(words, _word(2**_MANTISSA - 1)), tf.int32)
    return tf.cast(mantissas, tf.float32) * 2.0**-_MANTISSA


def normal(*, shape: Sequence[int], key: tf.Tensor, counter: tf.Tensor, alg: int) -> tf.Tensor:
    """Computes what `tf.raw_ops.StatelessRandomNormalV2` does (Box and Muller 1958), up to rounding; see `uniform`."""
    u = uniform(shape=[-(-shape[0] // 4) * 4], key=key, counter=counter, alg=alg)
    first, second = tf.unstack(tf.reshape(u, [-1, 2]), axis=1)
    radius = tf.sqrt(-2 * tf.math.log(tf.maximum(first, 1e-7)))
    angle = 2 * math.pi * second
    return tf.reshape(tf.stack([radius * tf.sin(angle), radius * tf.cos(angle)], 1), [-1])[: shape[0]]


def _words(counts: int, key: tf.Tensor, counter: tf.Tensor) -> tf.Tensor:
    """Returns four words of 32 bits for each count, in uint64."""
    first = counter[0] + tf.cast(tf.range(counts), tf.uint64)
    a, b = _low(first), _high(first)
    c, d = (tf.fill([counts], half) for half in (_low(counter[1]), _high(counter[1])))
    keys = [_low(key[0]), _high(key[0])]
    xor = tf.bitwise.bitwise_xor
    for _ in range(_ROUNDS):
        p, q = a * _word(_MULTIPLIERS[0]), c * _word(_MULTIPLIERS[1])
        a, b, c, d = xor(xor(_high(q), b), keys[0]), _low(q), xor(xor(_high(p), d), keys[1]), _low(p)
        keys = [_low(each + _word(increment)) for each, increment in zip(keys, _INCREMENTS, strict=True)]
    return tf.reshape(tf.stack([a, b, c, d], 1), [-1])


def _word(value: int) -> tf.Tensor:
    return tf.constant(value, tf.uint64)


def _low(x: tf.Tensor) -> tf.Tensor:
    return tf.bitwise.bitwise_and(x, _word(2**32 - 1))


def _high(x: tf.Tensor) -> tf.Tensor:
    return tf.bitwise.right_shift(x, _word(32))
