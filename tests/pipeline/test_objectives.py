"""Losses and penalties against closed forms and plain NumPy."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from pipeline import objectives
from pipeline.config import Config
from pipeline.objectives import OBJECTIVES, Batch, hinge, lsgan, minimax, nsgan, penalties, r3gan

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
    z, u = tf.constant(rng.standard_normal((5, 3)), tf.float32), tf.constant(rng.uniform(size=5), tf.float32)
    return Batch(images, tf.constant([0, 1, 2, 0, 1]), z, u, tf.constant(0, tf.int64))


def test_gradient_penalty_of_a_linear_critic_is_the_squared_norm_of_its_weights(batch):
    w = np.random.default_rng(2).standard_normal((4, 4, 2)).astype(np.float32)
    logits, penalty = penalties.logits_and_penalty({"discriminator": linear(w)}, batch.images, batch.labels)
    np.testing.assert_allclose(logits, np.einsum("nhwc,hwc->n", batch.images, w), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(penalty, np.full(5, np.sum(w**2)), rtol=1e-5)


def test_gradient_penalty_differs_by_sample(batch):
    w = np.random.default_rng(2).standard_normal((4, 4, 2)).astype(np.float32)
    _, penalty = penalties.logits_and_penalty({"discriminator": quadratic(w)}, batch.images, batch.labels)
    np.testing.assert_allclose(penalty, np.sum((w * batch.images.numpy()) ** 2, axis=(1, 2, 3)), rtol=1e-5)


def test_gradient_penalty_is_differentiable_in_the_weights(batch):
    w = tf.Variable(np.random.default_rng(2).standard_normal((4, 4, 2)), dtype=tf.float32)
    with tf.GradientTape() as tape:
        _, penalty = penalties.logits_and_penalty({"discriminator": quadratic(w)}, batch.images, batch.labels)
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
    d, g = objectives.updates(Config(objective="r3gan", gamma=0.8))
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
    d, g = objectives.updates(Config(objective="nsgan"))
    loss, metrics = d.loss(networks, batch)
    np.testing.assert_allclose(loss, -0.5 * (np.log(real) + np.log(1 - fake)), rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(metrics["d_acc_real"], real > 0.5)
    np.testing.assert_array_equal(metrics["d_acc_fake"], fake < 0.5)
    np.testing.assert_allclose(g.loss(networks, batch)[0], -np.log(fake), rtol=1e-3, atol=1e-5)
    d_real, d_fake, _ = objectives.updates(Config(objective="nsgan", d_batches="split"))
    np.testing.assert_allclose(d_real.loss(networks, batch)[0], -np.log(real), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(d_fake.loss(networks, batch)[0], -np.log(1 - fake), rtol=1e-3, atol=1e-5)


@pytest.fixture
def judged(batch):
    """A linear critic and its logits: (networks, weights, real, fake, batch)."""
    w = 0.3 * np.random.default_rng(3).standard_normal((4, 4, 2)).astype(np.float32)
    networks = networks_of(w)
    real, fake = (
        np.einsum("nhwc,hwc->n", images, w) for images in (batch.images, networks["generator"](batch.z, None))
    )
    return networks, w, real, fake, batch


@pytest.mark.parametrize(
    ("objective", "d_loss", "g_loss"),
    [
        (
            "minimax",
            lambda r, f: -0.5 * (np.log(sigmoid(r)) + np.log(1 - sigmoid(f))),
            lambda f: np.log(1 - sigmoid(f)),
        ),
        ("lsgan", lambda r, f: 0.5 * (r - 1) ** 2 + 0.5 * f**2, lambda f: 0.5 * (f - 1) ** 2),
        ("hinge", lambda r, f: np.maximum(0, 1 - r) + np.maximum(0, 1 + f), lambda f: -f),
    ],
)
def test_simple_objectives_against_numpy(objective, d_loss, g_loss, judged):
    networks, _, real, fake, batch = judged
    d, g = objectives.updates(Config(objective=objective))
    loss, metrics = d.loss(networks, batch)
    np.testing.assert_allclose(loss, d_loss(real, fake), rtol=1e-3, atol=1e-5)
    boundary = 0.5 if objective == "lsgan" else 0
    np.testing.assert_array_equal(metrics["d_acc_real"], real > boundary)
    np.testing.assert_array_equal(metrics["d_acc_fake"], fake < boundary)
    np.testing.assert_allclose(g.loss(networks, batch)[0], g_loss(fake), rtol=1e-3, atol=1e-5)


def test_saturating_losses_have_the_gradients_that_the_papers_complain_of():
    x = tf.constant([-20.0])
    for loss, slope in ((minimax.g_loss, 0.0), (nsgan.g_loss, -1.0), (lsgan.towards_one, -21.0)):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = loss(x)
        assert float(tape.gradient(y, x)[0]) == pytest.approx(slope, abs=1e-6)
    np.testing.assert_array_equal(hinge.d_loss_real(tf.constant([0.0, 1.0, 2.0])), [1, 0, 0])


def test_wgan_gp_against_numpy(judged):
    networks, w, real, fake, batch = judged
    *critic, g = objectives.updates(Config(objective="wgan_gp", d_steps=5))
    assert len(critic) == 5
    assert all(update.new_images and update.needs_u for update in critic)
    loss, metrics = critic[0].loss(networks, batch)
    penalty = (np.linalg.norm(w) - 1) ** 2  # of a linear critic, wherever it is taken
    np.testing.assert_allclose(loss, fake - real + 10 * penalty, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(metrics["wasserstein"], real - fake, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(g.loss(networks, batch)[0], -fake, rtol=1e-4, atol=1e-5)
    loss, _ = objectives.updates(Config(objective="wgan_gp", gp=3.0))[0].loss(networks, batch)
    np.testing.assert_allclose(loss, fake - real + 3 * penalty, rtol=1e-4, atol=1e-4)


def test_the_gradient_penalty_is_taken_between_each_pair(batch):
    w = np.random.default_rng(2).standard_normal((4, 4, 2)).astype(np.float32)
    generated = tf.zeros_like(batch.images) + 0.25
    between = batch.u[:, None, None, None] * batch.images + (1 - batch.u[:, None, None, None]) * generated
    expected = (np.sqrt(np.sum((w * between.numpy()) ** 2, axis=(1, 2, 3))) - 1) ** 2
    actual = penalties.gradient_norm_penalty({"discriminator": quadratic(w)}, batch, generated)
    np.testing.assert_allclose(actual, expected, rtol=1e-4)


def test_penalties_are_added_to_any_objective(batch):
    w = np.random.default_rng(2).standard_normal((4, 4, 2)).astype(np.float32)
    networks = {**networks_of(w), "discriminator": quadratic(w)}
    plain = objectives.updates(Config(objective="hinge"))
    config = Config(objective="hinge", r1=3.0, r2=5.0, gp=7.0)
    d, g = objectives.updates(config)
    loss, metrics = d.loss(networks, batch)
    r1, r2 = (
        np.sum((w * images.numpy()) ** 2, axis=(1, 2, 3))
        for images in (batch.images, networks["generator"](batch.z, None))
    )
    np.testing.assert_allclose(metrics["r1"], r1, rtol=1e-5)
    np.testing.assert_allclose(metrics["r2"], r2, rtol=1e-5)
    expected = plain[0].loss(networks, batch)[0] + 3 / 2 * r1 + 5 / 2 * r2 + 7 * metrics["gp"].numpy()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert set(metrics) == set(d.metrics)
    assert g == plain[1]


def test_lazy_penalties_have_the_same_mean(batch):
    w = np.ones((4, 4, 2), np.float32)
    networks = {**networks_of(w), "discriminator": quadratic(w)}
    always, lazy = (objectives.updates(Config(objective="nsgan", r1=1.0, penalty_every=k))[0] for k in (1, 4))
    expected, _ = always.loss(networks, batch)
    plain, _ = objectives.updates(Config(objective="nsgan"))[0].loss(networks, batch)
    losses = [lazy.loss(networks, dataclasses.replace(batch, step=tf.constant(step, tf.int64)))[0] for step in range(8)]
    np.testing.assert_allclose(np.mean(losses, axis=0), expected, rtol=1e-5)
    np.testing.assert_array_equal(losses[1], plain)


def test_the_generator_is_called_once_even_if_penalties_need_its_images(batch):
    """Twice would move its batch norm's averages twice."""
    w = np.ones((4, 4, 2), np.float32)
    networks, calls = networks_of(w), []

    def generator(z, labels):
        calls.append(z)
        return networks["generator"](z, labels)

    d = objectives.updates(Config(objective="nsgan", r1=1.0, r2=1.0, gp=1.0))[0]
    d.loss({**networks, "generator": generator}, batch)
    assert len(calls) == 1


CHOICES = next(field for field in Config.__dataclass_fields__.values() if field.name == "objective").metadata["choices"]


def test_every_objective_can_be_chosen():
    assert set(CHOICES) == set(OBJECTIVES)


@pytest.mark.parametrize(
    "config",
    [Config(objective=name, d_steps=steps) for name in CHOICES for steps in (1, 3)]
    + [Config(objective="nsgan", d_batches="split"), Config(objective="lsgan", r1=1.0, gp=2.0, penalty_every=3)],
    ids=lambda config: f"{config.objective}-{config.d_batches}-{config.d_steps}-{config.r1:g}",
)
def test_every_objective_keeps_the_interface(config, batch):
    config.validate()
    updates = objectives.updates(config)
    for update in updates:
        loss, metrics = update.loss(networks_of(np.ones((4, 4, 2), np.float32)), batch)
        assert loss.shape == (5,)
        assert set(metrics) == set(update.metrics)
        assert all(value.shape == (5,) for value in metrics.values())
    assert [update.network for update in updates][-1] == "generator"
