"""The step and the measures on the device, in this process."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled

from pipeline.cluster.strategy import make_strategy
from pipeline.metrics.classifier import Classifier, build
from tests.pipeline.training.test_step import (
    TRAJECTORIES,
    assert_same_trajectory,
    make,
    smooth,  # noqa: F401
    test_an_overflow_on_any_replica_skips_the_update_on_all,  # noqa: F401
    weights,
)

pytestmark = pytest.mark.gpu

# How much farther than on one CPU device trajectories may part: cuDNN picks another convolution for another batch.
_SLACK = 10


@pytest.fixture
def full_float32():
    from pipeline.devices import numerics

    with numerics.full_float32():
        yield


@pytest.fixture
def tf32():
    """As while a run trains."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(True)
    yield
    tf.config.experimental.enable_tensor_float_32_execution(before)


def test_everything_here_computes_on_the_device(gpu):
    kind = "GPU" if gpu else "CPU"
    assert len(tf.config.list_logical_devices(kind)) == 4
    for strategy, count in ((make_strategy("one_device"), 1), (make_strategy("mirrored", 4), 4)):
        assert [kind in device for device in strategy.extended.worker_devices] == [True] * count
    with make_strategy("one_device").scope():
        assert kind in tf.Variable(1.0).device
    assert is_op_determinism_enabled() == gpu


@pytest.mark.usefixtures("smooth", "full_float32")
@pytest.mark.parametrize("name", ["dcgan-r3gan-conditional", "mlp-nsgan-split"])
def test_one_two_and_four_replicas_follow_one_trajectory(name):
    runs = []
    for replicas in (1, 2, 4):
        strategy = make_strategy("one_device") if replicas == 1 else make_strategy("mirrored", replicas)
        trainee, train = make(TRAJECTORIES[name], strategy)
        start = weights(trainee)
        runs.append(([train(5), train(5)], weights(trainee)))
    assert_same_trajectory(runs[1], runs[0], start, _SLACK)
    assert_same_trajectory(runs[2], runs[0], start, _SLACK)


@pytest.mark.usefixtures("smooth", "full_float32")
@pytest.mark.parametrize("name", ["dcgan-r3gan-conditional"])
def test_without_tf32_it_trains_as_a_cpu_does(name):
    strategies = make_strategy("one_device"), tf.distribute.OneDeviceStrategy("CPU:0")
    (here, train_here), (there, train_there) = (make(TRAJECTORIES[name], strategy) for strategy in strategies)
    for variable, initial in zip(there.state().values(), here.state().values(), strict=True):
        variable.assign(initial.numpy())
    start = weights(there)
    runs = [([train(2), train(2)], weights(trainee)) for trainee, train in ((here, train_here), (there, train_there))]
    assert_same_trajectory(*runs, start, _SLACK)


@pytest.mark.usefixtures("tf32")
def test_features_of_the_measures_are_those_of_a_cpu():
    images = np.random.default_rng(0).integers(0, 256, (64, 28, 28, 1), dtype=np.uint8)
    keras.utils.set_random_seed(0)
    here = build((28, 28, 1), 10)
    with tf.device("CPU:0"):
        there = build((28, 28, 1), 10)
    there.set_weights(here.get_weights())
    found = Classifier(here, 0.0)(images)
    with tf.device("CPU:0"):
        expected = Classifier(there, 0.0)(images)
    scale = np.abs(expected.features).max()
    np.testing.assert_allclose(found.features / scale, expected.features / scale, rtol=0, atol=2e-5)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, rtol=0, atol=2e-5)
