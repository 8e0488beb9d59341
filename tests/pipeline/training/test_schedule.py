import math

import numpy as np
import pytest
import tensorflow as tf

from pipeline.training.schedule import ema_half_life, learning_rate


def rates(images, **schedule):
    return [float(learning_rate(tf.constant(float(each)), 2e-4, **schedule)) for each in images]


def test_a_constant_rate():
    assert rates([0, 1e9], warmup_images=0, decay_images=0) == [pytest.approx(2e-4)] * 2


def test_the_rate_rises_over_the_warm_up():
    actual = rates([0, 49, 99, 500], warmup_images=100, decay_images=0)
    np.testing.assert_allclose(actual, [2e-6, 1e-4, 2e-4, 2e-4], rtol=1e-5)


def test_the_rate_falls_along_half_a_cosine_and_stays_at_zero():
    actual = rates([0, 250, 500, 1000, 5000], warmup_images=0, decay_images=1000)
    expected = [2e-4, 1e-4 * (1 + math.cos(math.pi / 4)), 1e-4, 0, 0]
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-11)


def test_the_rate_falls_to_its_end_and_stays_there():
    actual = rates([0, 250, 500, 1000, 5000], warmup_images=0, decay_images=1000, end=5e-5)
    expected = [2e-4, 5e-5 + 1.5e-4 * (1 + math.cos(math.pi / 4)) / 2, 1.25e-4, 5e-5, 5e-5]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_an_end_at_zero_changes_no_bit():
    images = tf.constant(np.linspace(0, 1500, 97), tf.float32)
    plain = tf.constant(3e-4) * (0.5 * (1.0 + tf.cos(math.pi * tf.minimum(1.0, images / 1000))))
    np.testing.assert_array_equal(learning_rate(images, 3e-4, 0, 1000, 0.0), plain)


def test_the_half_life_follows_the_run_until_it_is_reached():
    halves = [float(ema_half_life(tf.constant(images), 1000, 0.05)) for images in (1.0, 2000.0, 20000.0, 90000.0)]
    np.testing.assert_allclose(halves, [0.05, 100, 1000, 1000], rtol=1e-6)
    assert float(ema_half_life(tf.constant(1.0), 1000, 0.0)) == 1000
