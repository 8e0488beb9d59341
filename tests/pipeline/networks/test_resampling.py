import numpy as np
import pytest
import tensorflow as tf

from pipeline.networks import grouped, resampling
from pipeline.networks.resampling import Doubling, Halving

SIZES = [(4, 4), (6, 4), (7, 5), (1, 3), (8, 9)]


def doubling_matrix(size):
    """[2n, n]: a filter [1, 2, 1] / 2 over pixels with zeros between them, the first of which is a zero."""
    matrix = np.zeros((2 * size, size))
    for place in range(2 * size):
        for tap, weight in zip((-1, 0, 1), (0.5, 1, 0.5), strict=True):
            if 0 <= place + tap < 2 * size and (place + tap) % 2:
                matrix[place, (place + tap) // 2] += weight
    return matrix


def halving_matrix(size):
    """[ceil(n / 2), n]: a filter [1, 2, 1] / 4 around every other pixel, the first of them to begin with."""
    matrix = np.zeros(((size + 1) // 2, size))
    for place in range(len(matrix)):
        for tap, weight in zip((-1, 0, 1), (0.25, 0.5, 0.25), strict=True):
            if 0 <= 2 * place + tap < size:
                matrix[place, 2 * place + tap] += weight
    return matrix


@pytest.fixture(params=["convolutions", "sums"])
def _form(request, monkeypatch):
    if request.param == "sums":
        monkeypatch.setattr(grouped, "differentiable", lambda dtype: False)


@pytest.mark.usefixtures("_form")
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize(("layer", "matrix"), [(Doubling, doubling_matrix), (Halving, halving_matrix)])
def test_against_numpy_with_gradients(layer, matrix, size):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *size, 3)).astype(np.float32)
    rows, columns = matrix(size[0]), matrix(size[1])
    expected = np.einsum("ah,bw,nhwc->nabc", rows, columns, x)
    made = layer()
    actual = made(x)
    assert tuple(actual.shape) == made.compute_output_shape(x.shape)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
    # Of |dL/dx|^2 with L the sum of cubes, and its gradient: what R1 needs of a linear layer.
    given = tf.constant(x)
    with tf.GradientTape() as outer:
        outer.watch(given)
        with tf.GradientTape() as inner:
            inner.watch(given)
            total = tf.reduce_sum(made(given) ** 3)
        gradient = inner.gradient(total, given)
        norm = tf.reduce_sum(gradient**2)
    back = np.einsum("ah,bw,nabc->nhwc", rows, columns, 3 * expected**2)
    np.testing.assert_allclose(gradient, back, rtol=1e-4, atol=1e-5)
    twice = 2 * np.einsum("ah,bw,nhwc->nabc", rows, columns, back) * 6 * expected
    np.testing.assert_allclose(
        outer.gradient(norm, given), np.einsum("ah,bw,nabc->nhwc", rows, columns, twice), rtol=1e-3, atol=1e-4
    )


def test_xla_compiles_them():
    x = np.random.default_rng(0).standard_normal((2, 6, 4, 3)).astype(np.float32)
    for layer in (Doubling(), Halving()):
        np.testing.assert_allclose(tf.function(layer, jit_compile=True)(x), layer(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_constants_stay_constant_inside_in_any_type(dtype):
    ones = tf.ones([1, 6, 6, 2])
    for layer in (Doubling(dtype=dtype), Halving(dtype=dtype)):
        y = layer(ones)
        assert y.dtype == dtype
        np.testing.assert_array_equal(
            tf.cast(y, tf.float32)[:, 1:-1, 1:-1], np.ones([1, *np.subtract(y.shape[1:3], 2), 2])
        )


def test_the_filters_weights_are_exact_in_any_type():
    for dtype in ("float16", "bfloat16", "float32"):
        kernel = tf.cast(resampling._kernel(tf.zeros([1, 2, 2, 3], dtype), 1), tf.float64)
        np.testing.assert_array_equal(kernel[:, :, 0, 1], np.outer([1, 2, 1], [1, 2, 1]) / 16)
