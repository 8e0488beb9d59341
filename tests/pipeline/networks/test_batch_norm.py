import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.cluster.strategy import make_strategy
from pipeline.networks.batch_norm import BatchNormalization

RNG = np.random.default_rng(0)


@pytest.fixture(params=[False, True], ids=["cpu", "gpu"], autouse=True)
def _sees_gpus(request, monkeypatch):
    """What this machine is taken for, while all is computed on the CPU."""
    if request.param:
        monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [f"{kind}:0"])


def trained(layer, x, target):
    """Returns output, gradients and moved averages of one training step on one device."""
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
        loss = tf.reduce_sum(y * target)
    variables = [v.value for v in layer.trainable_variables]
    return [
        y,
        *tape.gradient(loss, [x, *variables]),
        *(tf.convert_to_tensor(v.value) for v in layer.non_trainable_variables),
    ]


@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 3, 2), (2, 7, 3)])
def test_one_replica_computes_what_keras_does(shape):
    x, target = (RNG.normal(2, 3, shape).astype(np.float32) for _ in range(2))
    layers = BatchNormalization(momentum=0.9), keras.layers.BatchNormalization(momentum=0.9)
    for layer in layers:
        layer.build(shape)
        layer.gamma.assign(np.linspace(0.5, 2, shape[-1]))
        layer.beta.assign(np.linspace(-1, 1, shape[-1]))
    for actual, expected in zip(*(trained(layer, x, target) for layer in layers), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    inference = [layer(tf.constant(x), training=False) for layer in layers]
    np.testing.assert_allclose(*inference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mean", [2, -50])
@pytest.mark.parametrize("shape", [(8, 5), (8, 3, 3, 2)])
def test_replicas_share_the_statistics_of_the_global_batch(shape, mean):
    x, target = (RNG.normal(center, 3, shape).astype(np.float32) for center in (mean, 2))
    single = BatchNormalization(momentum=0.9)
    expected = trained(single, x, target)
    strategy = make_strategy("mirrored", 4)
    with strategy.scope():
        layer = BatchNormalization(momentum=0.9)
        layer.build(shape)

    def share(values):
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(np.split(values, 4)[context.replica_id_in_sync_group])
        )

    results = strategy.run(tf.function(lambda a, b: trained(layer, a, b)), args=(share(x), share(target)))
    y, dx, dgamma, dbeta, mean, variance = (strategy.experimental_local_results(each) for each in results)
    np.testing.assert_allclose(np.concatenate(y), expected[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.concatenate(dx), expected[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.sum(dgamma, 0), expected[2], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.sum(dbeta, 0), expected[3], rtol=1e-4, atol=1e-4)
    for replica in range(4):
        np.testing.assert_allclose(mean[replica], expected[4], rtol=1e-4)
        np.testing.assert_allclose(variance[replica], expected[5], rtol=1e-4)


def test_a_small_variance_around_a_large_mean_is_kept():
    # Where E[x^2] - E[x]^2 gives 0.06 in float32, Keras's way over replicas.
    x = (1000 + 0.01 * RNG.standard_normal((64, 3))).astype(np.float32)
    true = x.astype(np.float64).var(axis=0)
    strategy = make_strategy("mirrored", 2)
    with strategy.scope():
        layer = BatchNormalization(momentum=0.0)
        layer.build(x.shape)
    halves = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(np.split(x, 2)[context.replica_id_in_sync_group])
    )
    strategy.run(tf.function(lambda each: layer(each, training=True)), args=(halves,))
    np.testing.assert_allclose(np.asarray(layer.moving_variance), true, rtol=0.05)


@pytest.mark.parametrize("value", [0.0, 1e7, 3e15])
def test_a_constant_stays_finite_on_several_replicas(value):
    strategy = make_strategy("mirrored", 4)
    with strategy.scope():
        layer = BatchNormalization(momentum=0.0)
        layer.build((8, 3))
    same = tf.fill([2, 3], np.float32(value))
    y = strategy.run(tf.function(lambda: layer(same, training=True)))
    for each in strategy.experimental_local_results(y):
        np.testing.assert_array_equal(each, 0)
    np.testing.assert_array_equal(np.asarray(layer.moving_variance), 0)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 3, 2)])
def test_mixed_precision_keeps_statistics_in_float32(dtype, shape):
    x = RNG.normal(0, 1, shape).astype(np.float32)
    layer = BatchNormalization(momentum=0.9, dtype=dtype)
    y = layer(tf.constant(x), training=True)
    assert y.dtype == layer.compute_dtype
    assert layer.moving_variance.dtype == "float32"
    np.testing.assert_allclose(np.asarray(layer.moving_mean), 0.1 * x.mean(axis=tuple(range(x.ndim - 1))), atol=2e-3)


def test_nothing_is_averaged_in_tf32():
    """As GPUs multiply matrices: with ten bits of each factor, also of one third."""
    layer = BatchNormalization(momentum=0.0)
    graph = tf.function(lambda x: layer(x, training=True)).get_concrete_function(tf.TensorSpec([3, 2])).graph
    kinds = {operation.type for operation in graph.get_operations()}
    assert ("MatMul" in kinds) != bool(tf.config.get_visible_devices("GPU"))
