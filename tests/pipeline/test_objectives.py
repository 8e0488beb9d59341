"""Losses and penalties against closed forms and plain NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from pipeline import objectives
from pipeline.config import Config
from pipeline.objectives import Batch, nsgan, r3gan

LOGITS = np.array([-30.0, -3.0, -0.5, 0.0, 0.7, 4.0, 30.0])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_nsgan_is_binary_cross_entropy_of_the_sigmoid():
    p = sigmoid(LOGITS)
    x = tf.constant(LOGITS)
    # The reference itself loses digits where the sigmoid rounds to 1, hence the absolute tolerance.
    np.testing.assert_allclose(nsgan.d_loss_real(x), -np.log(p), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(nsgan.d_loss_fake(x), -np.log(sigmoid(-LOGITS)), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(nsgan.g_loss(x), -np.log(p), rtol=1e-9, atol=1e-15)


def test_nsgan_stays_finite_where_the_sigmoid_saturates():
    x = tf.constant([-1e4, 1e4])
    np.testing.assert_array_equal(nsgan.d_loss_real(x), [1e4, 0])
    np.testing.assert_array_equal(nsgan.d_loss_fake(x), [0, 1e4])


def test_r3gan_pairing_loss():
    real, fake = tf.constant(LOGITS), tf.constant(LOGITS[::-1].copy())
    expected = np.log1p(np.exp(-(LOGITS - LOGITS[::-1])))
    np.testing.assert_allclose(r3gan.pairing_loss(real, fake), expected, rtol=1e-9, atol=1e-25)


def linear(w):
    return lambda images, labels: tf.reduce_sum(images * w, axis=[1, 2, 3])


def quadratic(w):
    return lambda images, labels: 0.5 * tf.reduce_sum(w * tf.square(images), axis=[1, 2, 3])


@pytest.fixture
def batch():
    rng = np.random.default_rng(1)
    images = tf.constant(rng.uniform(-1, 1, (5, 4, 4, 2)), tf.float32)
    return Batch(images, tf.constant([0, 1, 2, 0, 1]), tf.constant(rng.standard_normal((5, 3)), tf.float32))


def test_gradient_penalty_of_a_linear_critic_is_the_squared_norm_of_its_weights(batch):
    w = np.random.default_rng(2).standard_normal((4, 4, 2)).astype(np.float32)
    logits, penalty = r3gan.logits_and_penalty({"discriminator": linear(w)}, batch.images, batch.labels)
    np.testing.assert_allclose(logits, np.einsum("nhwc,hwc->n", batch.images, w), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(penalty, np.full(5, np.sum(w**2)), rtol=1e-5)


def test_gradient_penalty_differs_by_sample(batch):
    w = np.random.default_rng(2).standard_normal((4, 4, 2)).astype(np.float32)
    _, penalty = r3gan.logits_and_penalty({"discriminator": quadratic(w)}, batch.images, batch.labels)
    np.testing.assert_allclose(penalty, np.sum((w * batch.images.numpy()) ** 2, axis=(1, 2, 3)), rtol=1e-5)


def test_gradient_penalty_is_differentiable_in_the_weights(batch):
    w = tf.Variable(np.random.default_rng(2).standard_normal((4, 4, 2)), dtype=tf.float32)
    with tf.GradientTape() as tape:
        _, penalty = r3gan.logits_and_penalty({"discriminator": quadratic(w)}, batch.images, batch.labels)
        total = tf.reduce_sum(penalty)
    expected = 2 * w.numpy() * np.sum(batch.images.numpy() ** 2, axis=0)  # d/dw sum (w x)^2
    np.testing.assert_allclose(tape.gradient(total, w), expected, rtol=1e-5)


def networks_of(w):
    def generate(z, labels):
        return tf.tanh(tf.reshape(tf.tile(z[:, :2], [1, 16]), [-1, 4, 4, 2]))

    return {"generator": generate, "discriminator": linear(w)}


def test_r3gan_updates_against_numpy(batch):
    w = np.random.default_rng(3).standard_normal((4, 4, 2)).astype(np.float32)
    networks = networks_of(w)
    real = np.einsum("nhwc,hwc->n", batch.images, w)
    fake = np.einsum("nhwc,hwc->n", networks["generator"](batch.z, None), w)
    d, g = objectives.updates("r3gan", d_batches="joint", gamma=0.8)
    loss, metrics = d.loss(networks, batch)
    expected = np.log1p(np.exp(fake - real))
    np.testing.assert_allclose(loss, expected + 0.8 / 2 * 2 * np.sum(w**2), rtol=1e-4)
    np.testing.assert_allclose(metrics["d_loss"], expected, rtol=1e-4)
    np.testing.assert_array_equal(metrics["d_acc_real"], real > fake)
    loss, _ = g.loss(networks, batch)
    np.testing.assert_allclose(loss, np.log1p(np.exp(real - fake)), rtol=1e-4)


def test_nsgan_updates_against_numpy(batch):
    w = np.random.default_rng(3).standard_normal((4, 4, 2)).astype(np.float32)
    networks = networks_of(w)
    real = sigmoid(np.einsum("nhwc,hwc->n", batch.images, w))
    fake = sigmoid(np.einsum("nhwc,hwc->n", networks["generator"](batch.z, None), w))
    d, g = objectives.updates("nsgan", d_batches="joint", gamma=0)
    loss, metrics = d.loss(networks, batch)
    np.testing.assert_allclose(loss, -0.5 * (np.log(real) + np.log(1 - fake)), rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(metrics["d_acc_real"], real > 0.5)
    np.testing.assert_array_equal(metrics["d_acc_fake"], fake < 0.5)
    np.testing.assert_allclose(g.loss(networks, batch)[0], -np.log(fake), rtol=1e-3, atol=1e-5)
    d_real, d_fake, _ = objectives.updates("nsgan", d_batches="split", gamma=0)
    np.testing.assert_allclose(d_real.loss(networks, batch)[0], -np.log(real), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(d_fake.loss(networks, batch)[0], -np.log(1 - fake), rtol=1e-3, atol=1e-5)


OBJECTIVES = next(field for field in Config.__dataclass_fields__.values() if field.name == "objective")


@pytest.mark.parametrize("objective", OBJECTIVES.metadata["choices"])
@pytest.mark.parametrize("d_batches", ["joint", "split"])
def test_every_objective_keeps_the_interface(objective, d_batches, batch):
    for update in objectives.updates(objective, d_batches=d_batches, gamma=1.0):
        loss, metrics = update.loss(networks_of(np.ones((4, 4, 2), np.float32)), batch)
        assert loss.shape == (5,)
        assert tuple(metrics) == update.metrics or set(metrics) == set(update.metrics)
        assert all(value.shape == (5,) for value in metrics.values())
        assert update.network in ("generator", "discriminator")
