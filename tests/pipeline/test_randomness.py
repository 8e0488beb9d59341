import numpy as np
import pytest
import tensorflow as tf

from pipeline.randomness import data_order, flips, latents


@pytest.mark.parametrize("num_examples", [1, 2, 7, 10])
def test_each_epoch_visits_each_example_once_in_another_order(num_examples):
    order = data_order(tf.range(6 * num_examples, dtype=tf.int64), num_examples, seed=3).numpy()
    epochs = order.reshape(6, num_examples)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(num_examples), (6, 1)))
    if num_examples == 10:
        assert len({tuple(epoch) for epoch in epochs.tolist()}) == 6


def test_data_order_depends_on_position_and_seed_alone():
    positions = tf.range(40, dtype=tf.int64)
    whole = data_order(positions, 10, seed=3).numpy()
    np.testing.assert_array_equal(data_order(positions[13:17], 10, seed=3), whole[13:17])
    assert not np.array_equal(data_order(positions, 10, seed=4), whole)


def test_latents_are_standard_normal_and_never_repeat():
    draws = [
        latents(tf.constant(step, tf.int64), update, 400, 50, seed).numpy()
        for step, update, seed in [(0, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1)]
    ]
    for z in draws:
        # 20,000 draws: the mean's standard error is 0.007, the variance's 0.01.
        assert abs(z.mean()) < 0.03
        assert abs(z.var() - 1) < 0.04
    for i in range(4):
        for j in range(i):
            assert abs(np.corrcoef(draws[i].ravel(), draws[j].ravel())[0, 1]) < 0.03
    np.testing.assert_array_equal(latents(tf.constant(0, tf.int64), 0, 400, 50, 0), draws[0])


def test_flips_are_fair_and_fixed():
    first, again, other = (flips(tf.constant(step, tf.int64), 0, 4000, seed=1).numpy() for step in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    # 4,000 draws: the share's standard error is 0.008.
    assert abs(first.mean() - 0.5) < 0.03
    assert abs((first == other).mean() - 0.5) < 0.03
