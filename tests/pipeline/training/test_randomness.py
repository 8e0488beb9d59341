import numpy as np
import pytest
import tensorflow as tf

from pipeline.training.randomness import augmentation, corners, data_order, flips, latents, noise, pixels, uniform


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
        latents(tf.constant(step, tf.int64), update, [(0, 400)], 50, seed).numpy()
        for step, update, seed in [(0, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1)]
    ]
    for z in draws:
        # 20,000 draws: the mean's standard error is 0.007, the variance's 0.01.
        assert abs(z.mean()) < 0.03
        assert abs(z.var() - 1) < 0.04
    for i in range(4):
        for j in range(i):
            assert abs(np.corrcoef(draws[i].ravel(), draws[j].ravel())[0, 1]) < 0.03
    np.testing.assert_array_equal(latents(tf.constant(0, tf.int64), 0, [(0, 400)], 50, 0), draws[0])


def test_flips_are_fair_and_fixed():
    first, again, other = (flips(tf.constant(step, tf.int64), 0, [(0, 4000)], seed=1).numpy() for step in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    # 4,000 draws: the share's standard error is 0.008.
    assert abs(first.mean() - 0.5) < 0.03
    assert abs((first == other).mean() - 0.5) < 0.03


def test_corners_are_fair_and_fixed():
    drawn, again, other = (
        corners(tf.constant(step, tf.int64), 0, [(0, 4000)], (4, 1), seed=1).numpy() for step in (5, 5, 6)
    )
    np.testing.assert_array_equal(drawn, again)
    # 4,000 draws: a count of a fifth has a standard error of 25, one of a half of 32.
    assert np.abs(np.bincount(drawn[:, 0], minlength=5) - 800).max() < 100
    assert np.abs(np.bincount(drawn[:, 1], minlength=2) - 2000).max() < 130
    assert drawn.min() == 0
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.06
    assert abs((drawn == other).all(axis=1).mean() - 0.1) < 0.03
    still = corners(tf.constant(5, tf.int64), 0, [(0, 9)], (0, 3), seed=1).numpy()
    assert (still[:, 0] == 0).all()
    assert still[:, 1].max() <= 3


def test_the_last_corner_is_within():
    u = np.float32(1 - 2**-23)  # the largest that TensorFlow draws
    for margin in range(2**14):
        assert int(u * (np.float32(margin) + np.float32(1))) == margin


DRAWS = {
    "latents": lambda step, rows: latents(step, 1, rows, 3, 7),
    "latents of four": lambda step, rows: latents(step, 1, rows, 4, 7),
    "uniform": lambda step, rows: uniform(step, 1, rows, 7),
    "pixels": lambda step, rows: pixels(step, 1, rows, 6, 7),
    "augmentation": lambda step, rows: augmentation(step, 1, rows, 5, 7),
    "noise": lambda step, rows: noise(step, 1, rows, 6, 7),
    "flips": lambda step, rows: flips(step, 1, rows, 7),
    "corners": lambda step, rows: corners(step, 1, rows, (6, 4), 7),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
@pytest.mark.parametrize("traced", [False, True])
def test_a_part_holds_the_bits_of_the_whole(draw, traced):
    step = tf.constant(11, tf.int64)
    whole = draw(step, [(0, 1003)]).numpy()
    assert len(np.unique(whole)) > 1
    for number in (1, 2, 3, 4, 5, 64):
        part = tf.function(lambda first, n=number: draw(step, [(first, n)]))
        for first in [*range(9), 901]:
            drawn = part(tf.constant(first, tf.int64)) if traced else draw(step, [(first, number)])
            np.testing.assert_array_equal(drawn, whole[first : first + number], err_msg=f"{first}, {number}")
    several = draw(step, [(1, 2), (tf.constant(10, tf.int64), 3), (500, 1)])
    np.testing.assert_array_equal(several, np.concatenate([whole[1:3], whole[10:13], whole[500:501]]))
