import numpy as np
import pytest
import tensorflow as tf

from pipeline.cluster.strategy import make_strategy
from pipeline.config import Config
from pipeline.objectives.composition import compose
from pipeline.training.feed import Layout, ResidentFeed


@pytest.mark.parametrize("replicas", [1, 3])
def test_each_device_holds_one_copy_of_the_data_set(replicas):
    strategy = make_strategy("mirrored", replicas)
    layout = Layout(compose(Config().to_dict()).updates(), 6, 1, replicas)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, [12, 4, 4, 1], dtype=np.uint8), np.arange(12, dtype=np.int32)
    feed = ResidentFeed(strategy, layout, images, labels, 0)
    copies = strategy.experimental_local_results(feed._images)
    assert [copy.device for copy in copies] == list(strategy.extended.worker_devices)
    for copy in copies:
        np.testing.assert_array_equal(copy, images)
    # TensorFlow keeps no int32 in a GPU's memory, which would be sent it in each step.
    assert {copy.dtype for copy in strategy.experimental_local_results(feed._labels)} == {tf.int64}

    @tf.function
    def step(number):
        return feed.next(number)

    pixels, marks = (strategy.experimental_local_results(part) for part in step(tf.constant(0, tf.int64)))
    assert {part.dtype for part in marks} == {tf.int32}
    np.testing.assert_array_equal(np.concatenate(pixels), images[np.concatenate(marks)])
    assert len({*np.concatenate(marks).tolist()}) == 6
