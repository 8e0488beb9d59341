import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.networks import grouped, stored
from pipeline.networks.grouped import GroupedConv2D, grouped_convolution

RNG = np.random.default_rng(0)
X, KERNEL = RNG.standard_normal((2, 6, 5, 12)), RNG.standard_normal((3, 3, 4, 9))  # three groups of 4 and of 3 planes


def by_hand(x, kernel):
    """Each output plane's sum over taps and over the planes of its own group, float64."""
    inputs, outputs = kernel.shape[2], kernel.shape[3] * kernel.shape[2] // x.shape[3]
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    y = np.zeros([*x.shape[:3], kernel.shape[3]])
    for plane in range(kernel.shape[3]):
        group = plane // outputs
        for row in range(x.shape[1]):
            for column in range(x.shape[2]):
                seen = padded[:, row : row + 3, column : column + 3, group * inputs : (group + 1) * inputs]
                y[:, row, column, plane] = (seen * kernel[:, :, :, plane]).sum(axis=(1, 2, 3))
    return y


def penalty(x, kernel):
    """A norm of gradients, as R1's, and its gradients."""
    with tf.GradientTape() as outer:
        outer.watch([x, kernel])
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = tf.nn.leaky_relu(grouped_convolution(x, kernel), 0.2)
            value = tf.reduce_sum(y**3)
        total = tf.reduce_sum(tf.square(inner.gradient(value, x)))
    return [y, total, *outer.gradient(total, [x, kernel])]


def split(monkeypatch):
    """Computes one convolution for each group from now on."""
    monkeypatch.setattr(grouped, "differentiable", lambda dtype: False)


def test_against_numpy(monkeypatch):
    expected = by_hand(X, KERNEL)
    x, kernel = tf.constant(X, tf.float32), tf.constant(KERNEL, tf.float32)
    np.testing.assert_allclose(grouped_convolution(x, kernel), expected, rtol=1e-4, atol=1e-5)
    split(monkeypatch)
    np.testing.assert_allclose(grouped_convolution(x, kernel), expected, rtol=1e-4, atol=1e-5)


def test_both_forms_have_the_same_gradients_of_gradients(monkeypatch):
    given = tf.constant(X, tf.float32), tf.constant(KERNEL, tf.float32)
    assert grouped.differentiable("float32")  # wherever oneDNN is
    native = penalty(*given)
    split(monkeypatch)
    for actual, expected in zip(penalty(*given), native, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-3)


def test_xla_compiles_the_split_form_on_cpus():
    given = tf.constant(X, tf.float32), tf.constant(KERNEL, tf.float32)
    seen = []

    def function(x, kernel):
        seen.append(grouped.compiled_for_cpu())
        return penalty(x, kernel)

    compiled = tf.function(function, jit_compile=True)(*given)
    assert seen == [True]
    for actual, expected in zip(compiled, tf.function(function)(*given), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-3)
    assert seen == [True, False]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_low_precisions_have_gradients_everywhere(dtype):
    given = tf.constant(0.1 * X, dtype), tf.constant(0.1 * KERNEL, dtype)
    exact = penalty(*(tf.cast(each, tf.float32) for each in given))
    for actual, expected in zip(penalty(*given), exact, strict=True):
        assert actual.dtype == dtype
        scale = float(np.abs(expected).max())
        np.testing.assert_allclose(tf.cast(actual, tf.float32), expected, atol=0.05 * scale)


def test_the_layers_kernel_has_the_form_of_keras_and_its_layer_can_be_stored():
    keras.utils.set_random_seed(0)
    inputs = keras.Input([6, 5, 12])
    ours = GroupedConv2D(9, 3, padding="same", groups=3, activation="relu")
    model = keras.Model(inputs, ours(inputs))
    assert ours.kernel.shape == (3, 3, 4, 9)
    theirs = keras.layers.Conv2D(9, 3, padding="same", groups=3, activation="relu")
    theirs.build([None, 6, 5, 12])
    theirs.set_weights(ours.get_weights())
    np.testing.assert_allclose(model(np.float32(X)), theirs(np.float32(X)), rtol=1e-4, atol=1e-5)
    again = stored.build(stored.configuration(model), "generator")
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(np.float32(X)), model(np.float32(X)))
