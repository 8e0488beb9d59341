import numpy as np
import tensorflow as tf

from pipeline.training.optimizer import Adam


def test_adam_against_numpy_with_a_second_moment_that_slows_down():
    rng = np.random.default_rng(0)
    value, betas, epsilon = rng.standard_normal(5), (0.5, 0.7, 0.9, 0.99), 1e-2
    variable = tf.Variable(value, dtype=tf.float32)
    adam = Adam([variable], beta_1=0.3, beta_2=betas[0], epsilon=epsilon)
    first, second = np.zeros(5), np.zeros(5)
    for count, beta_2 in enumerate(betas, 1):
        gradient, rate = rng.standard_normal(5), 0.1 / count
        adam.apply([tf.constant(gradient, tf.float32)], rate, tf.constant(beta_2))
        first = 0.3 * first + 0.7 * gradient
        second = beta_2 * second + (1 - beta_2) * gradient**2
        value = value - rate * np.sqrt(1 - beta_2**count) / (1 - 0.3**count) * first / (np.sqrt(second) + epsilon)
        np.testing.assert_allclose(variable, value, rtol=1e-4, atol=1e-6)


def test_a_constant_second_moment_is_the_one_it_was_made_with():
    gradient = tf.constant([0.3, -2.0])
    variables = [tf.Variable([1.0, 2.0]) for _ in range(2)]
    Adam([variables[0]], beta_1=0.0, beta_2=0.95).apply([gradient], 0.01)
    Adam([variables[1]], beta_1=0.0, beta_2=0.5).apply([gradient], 0.01, tf.constant(0.95))
    np.testing.assert_allclose(variables[0], variables[1], rtol=1e-6)
