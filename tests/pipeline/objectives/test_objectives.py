"""Losses and penalties against closed forms and plain NumPy."""

import dataclasses
import importlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipeline import objectives
from pipeline.config import Config
from pipeline.objectives import OBJECTIVES, SGAN, Batch, hinge, infogan, lsgan, minimax, nsgan, penalties, r3gan, vae
from pipeline.objectives.composition import compose
from pipeline.objectives.sgan import few_labelled
from serving.contract.attributes import Attribute


def updates_of(config, **data):
    """The updates of a configuration."""
    return compose(config.to_dict()).updates(**data)


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
    return Batch(
        images,
        tf.constant([0, 1, 2, 0, 1]),
        z,
        u,
        step=tf.constant(0, tf.int64),
        augmentation=tf.zeros([5, 2, 0]),
        state={"augment_p": tf.constant(1.0)},
        noise=tf.constant(rng.standard_normal((5, 3, 32)), tf.float32),
        pixels=tf.zeros([5, 2, 0]),
    )


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
    d, g = updates_of(Config(objective="r3gan", gamma=0.8))
    loss, metrics = d.loss(networks, batch)
    expected = np.log1p(np.exp(fake - real))
    np.testing.assert_allclose(loss, expected + 0.8 / 2 * 2 * np.sum(w**2), rtol=1e-4)
    np.testing.assert_allclose(metrics["d_loss"], expected, rtol=1e-4)
    np.testing.assert_array_equal(metrics["d_acc_real"], real > fake)
    loss, _ = g.loss(networks, batch)
    np.testing.assert_allclose(loss, np.log1p(np.exp(real - fake)), rtol=1e-4)


@pytest.mark.parametrize(("seen", "gamma"), [(0.0, 0.8), (500.0, 0.44), (1000.0, 0.08), (9000.0, 0.08)])
def test_r3gans_penalties_follow_their_schedule(batch, seen, gamma):
    w = np.random.default_rng(3).standard_normal((4, 4, 2)).astype(np.float32)
    d, _ = updates_of(Config(objective="r3gan", gamma=0.8, gamma_end=0.08, schedule_images=1000))
    loss, metrics = d.loss(networks_of(w), dataclasses.replace(batch, seen=tf.constant(seen)))
    np.testing.assert_allclose(loss - metrics["d_loss"], np.full(5, gamma * np.sum(w**2)), rtol=1e-4)


def test_nsgan_updates_against_numpy(batch):
    w = np.random.default_rng(3).standard_normal((4, 4, 2)).astype(np.float32)
    networks = networks_of(w)
    real = sigmoid(np.einsum("nhwc,hwc->n", batch.images, w))
    fake = sigmoid(np.einsum("nhwc,hwc->n", networks["generator"](batch.z, None), w))
    d, g = updates_of(Config(objective="nsgan"))
    loss, metrics = d.loss(networks, batch)
    np.testing.assert_allclose(loss, -0.5 * (np.log(real) + np.log(1 - fake)), rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(metrics["d_acc_real"], real > 0.5)
    np.testing.assert_array_equal(metrics["d_acc_fake"], fake < 0.5)
    np.testing.assert_allclose(g.loss(networks, batch)[0], -np.log(fake), rtol=1e-3, atol=1e-5)
    d_real, d_fake, _ = updates_of(Config(objective="nsgan", d_batches="split"))
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
    d, g = updates_of(Config(objective=objective))
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
    *critic, g = updates_of(Config(objective="wgan_gp", d_steps=5))
    assert len(critic) == 5
    assert all(update.new_images and update.needs_u for update in critic)
    loss, metrics = critic[0].loss(networks, batch)
    penalty = (np.linalg.norm(w) - 1) ** 2  # of a linear critic, wherever it is taken
    np.testing.assert_allclose(loss, fake - real + 10 * penalty, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(metrics["wasserstein"], real - fake, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(g.loss(networks, batch)[0], -fake, rtol=1e-4, atol=1e-5)
    loss, _ = updates_of(Config(objective="wgan_gp", gp=3.0))[0].loss(networks, batch)
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
    plain = updates_of(Config(objective="hinge"))
    config = Config(objective="hinge", r1=3.0, r2=5.0, gp=7.0)
    d, g = updates_of(config)
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
    assert dataclasses.replace(g, loss=None) == dataclasses.replace(plain[1], loss=None)
    np.testing.assert_array_equal(g.loss(networks, batch)[0], plain[1].loss(networks, batch)[0])


def test_lazy_penalties_have_the_same_mean(batch):
    w = np.ones((4, 4, 2), np.float32)
    networks = {**networks_of(w), "discriminator": quadratic(w)}
    always, lazy = (updates_of(Config(objective="nsgan", r1=1.0, penalty_every=k))[0] for k in (1, 4))
    expected, _ = always.loss(networks, batch)
    plain, _ = updates_of(Config(objective="nsgan"))[0].loss(networks, batch)
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

    d = updates_of(Config(objective="nsgan", r1=1.0, r2=1.0, gp=1.0))[0]
    d.loss({**networks, "generator": generator}, batch)
    assert len(calls) == 1


def test_kl_of_normal_distributions_against_numerical_integration():
    mean, log_variance = 0.7, -1.2
    x = np.linspace(-12, 12, 200_001)
    p = np.exp(-((x - mean) ** 2) / (2 * np.exp(log_variance))) / np.sqrt(2 * np.pi * np.exp(log_variance))
    log_q = -(x**2) / 2 - np.log(2 * np.pi) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.trapezoid(np.where(p > 0, p * (np.log(p) - log_q), 0), x)
    actual = vae.kl_to_standard_normal(tf.constant([[mean, 0.0]]), tf.constant([[log_variance, 0.0]]))
    assert float(actual[0]) == pytest.approx(expected, rel=1e-5)


def coders(code):
    def encode(images, labels):
        return tf.constant(np.resize(code, (5, 6 if len(code) == 6 else 3)).astype(np.float32))

    return {"encoder": encode, "generator": networks_of(np.ones((4, 4, 2), np.float32))["generator"]}


def test_vae_against_numpy(batch):
    networks = coders(np.array([0.5, -1.0, 0.2, -0.5, 0.1, 0.3]))
    (update,) = updates_of(Config(objective="vae", sigma=0.5))
    loss, metrics = update.loss(networks, batch)
    mean, log_variance = np.array([0.5, -1.0, 0.2]), np.array([-0.5, 0.1, 0.3])
    z = mean + np.exp(log_variance / 2) * batch.z.numpy()
    y = networks["generator"](tf.constant(z.astype(np.float32)), None).numpy()
    error = np.sum((batch.images.numpy() - y) ** 2, axis=(1, 2, 3))
    kl = 0.5 * np.sum(np.exp(log_variance) + mean**2 - 1 - log_variance)
    np.testing.assert_allclose(loss, error / (2 * 0.25) + kl, rtol=1e-5)
    np.testing.assert_allclose(metrics["mse"], error / 32, rtol=1e-5)
    assert update.network == "generator+encoder"


def test_autoencoder_against_numpy(batch):
    networks = coders(np.array([0.5, -1.0, 0.2]))
    (update,) = updates_of(Config(objective="autoencoder"))
    y = networks["generator"](networks["encoder"](None, None), None).numpy()
    error = np.sum((batch.images.numpy() - y) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(update.loss(networks, batch)[0], error / 2, rtol=1e-5)


def cross_entropy(classes, labels):
    p = np.exp(classes) / np.exp(classes).sum(axis=1, keepdims=True)
    return -np.log(p[np.arange(len(labels)), labels])


@pytest.mark.parametrize("config", [Config(objective=name, r1=r1) for name, r1 in (("nsgan", 0.0), ("hinge", 2.0))])
def test_acgan_adds_cross_entropies_against_numpy(config, batch):
    w = np.random.default_rng(4).standard_normal((32, 3)).astype(np.float32)
    plain = networks_of(0.3 * np.ones((4, 4, 2), np.float32))

    def discriminator(images, labels):
        classes = tf.reshape(images, [-1, 32]) @ w
        return {"logits": plain["discriminator"](images, labels), "classes": classes}

    with_classes = dataclasses.replace(config, conditional=True, conditioning="acgan", class_weight=0.7)
    d, g = updates_of(with_classes)
    plain_d, plain_g = updates_of(config)
    networks = {**plain, "discriminator": discriminator}
    labels = batch.labels.numpy()
    real = cross_entropy(batch.images.numpy().reshape(5, 32) @ w, labels)
    fake = cross_entropy(plain["generator"](batch.z, None).numpy().reshape(5, 32) @ w, labels)
    loss, metrics = d.loss(networks, batch)
    np.testing.assert_allclose(loss, plain_d.loss(plain, batch)[0] + 0.7 * (real + fake) / 2, rtol=1e-4)
    assert set(metrics) == set(d.metrics)
    np.testing.assert_allclose(g.loss(networks, batch)[0], plain_g.loss(plain, batch)[0] + 0.7 * fake, rtol=1e-4)


def test_acgan_of_attributes_against_numpy(batch):
    attributes = (Attribute("red", "binary", 0, 1, 0), Attribute("age", "number", 20, 60, 30))
    labels = np.array([[1, 20], [0, 60], [1, 40], [0, 25], [0, 55]], np.float32)
    batch = dataclasses.replace(batch, labels=tf.constant(labels))
    w = np.random.default_rng(4).standard_normal((32, 2)).astype(np.float32)
    plain = networks_of(0.3 * np.ones((4, 4, 2), np.float32))

    def discriminator(images, labels):
        return {"logits": plain["discriminator"](images, labels), "attributes": tf.reshape(images, [-1, 32]) @ w}

    def cost(images):
        named = images.numpy().reshape(5, 32) @ w
        entropy = np.logaddexp(0, named[:, 0]) - labels[:, 0] * named[:, 0]
        return (entropy + (named[:, 1] - (labels[:, 1] - 40) / 20) ** 2) / 2

    config = Config(objective="nsgan", conditional=True, conditioning="acgan", class_weight=0.7)
    composed = compose(config.to_dict())
    assert composed.needs((), 2, 3, attributes).heads == {"attributes": 2}
    d, g = composed.updates(num_labels=2, attributes=attributes)
    plain_d, plain_g = updates_of(Config(objective="nsgan"))
    networks = {**plain, "discriminator": discriminator}
    real, fake = cost(batch.images), cost(plain["generator"](batch.z, None))
    loss, metrics = d.loss(networks, batch)
    np.testing.assert_allclose(loss, plain_d.loss(plain, batch)[0] + 0.7 * (real + fake) / 2, rtol=1e-4)
    assert set(metrics) == {*d.metrics} == {*plain_d.metrics, "d_attribute_loss"}
    np.testing.assert_allclose(g.loss(networks, batch)[0], plain_g.loss(plain, batch)[0] + 0.7 * fake, rtol=1e-4)


@pytest.mark.parametrize("config", [Config(objective="nsgan"), Config(objective="r3gan"), Config(objective="wgan_gp")])
def test_infogan_adds_what_its_head_does_not_know_against_numpy(config, batch):
    rng = np.random.default_rng(6)
    w = rng.standard_normal((32, 3)).astype(np.float32)
    plain = networks_of(0.3 * np.ones((4, 4, 2), np.float32))

    def discriminator(images, labels):
        return {"logits": plain["discriminator"](images, labels), "codes": tf.reshape(images, [-1, 32]) @ w}

    informed = updates_of(dataclasses.replace(config, categories=2, codes=1, info_weight=0.7))
    guess = plain["generator"](batch.z, None).numpy().reshape(5, 32) @ w
    z = batch.z.numpy()  # three components: two for the category, one code
    cost = cross_entropy(guess[:, :2], z[:, :2].argmax(axis=1)) + 0.5 * (z[:, 2] - guess[:, 2]) ** 2
    for update, without in zip(informed, updates_of(config), strict=True):
        loss, metrics = update.loss({**plain, "discriminator": discriminator}, batch)
        np.testing.assert_allclose(loss, without.loss(plain, batch)[0] + 0.7 * cost, rtol=1e-4)
        np.testing.assert_allclose(metrics["mutual_information"], np.log(2) + 0.5 - cost, rtol=1e-4, atol=1e-5)
        assert set(metrics) == set(update.metrics)


def test_a_head_that_knows_everything_reports_all_the_information():
    z = np.random.default_rng(7).standard_normal((1000, 6)).astype(np.float32)
    sure = np.concatenate([100 * (z[:, :4] == z[:, :4].max(axis=1, keepdims=True)), z[:, 4:]], axis=1)
    np.testing.assert_allclose(infogan.info_loss(z, tf.constant(sure, tf.float32), 4, 2), np.zeros(1000), atol=1e-5)
    # One that knows nothing: the entropies, ln 4 and, on average, 1/2 for each code.
    ignorant = infogan.info_loss(z, tf.zeros([1000, 6]), 4, 2)
    assert float(tf.reduce_mean(ignorant)) == pytest.approx(np.log(4) + 1, rel=0.05)


def test_infogan_and_acgan_go_together(batch):
    plain = networks_of(np.ones((4, 4, 2), np.float32))

    def discriminator(images, labels):
        zeros = tf.zeros([images.shape[0], 3])
        return {"logits": plain["discriminator"](images, labels), "codes": zeros, "classes": zeros}

    both = Config(objective="hinge", conditional=True, conditioning="acgan", codes=3)
    for update, without in zip(updates_of(both), updates_of(Config(objective="hinge")), strict=True):
        loss, _ = update.loss({**plain, "discriminator": discriminator}, batch)
        expected = without.loss(plain, batch)[0] + np.log(3) + 0.5 * np.sum(batch.z.numpy() ** 2, axis=1)
        np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_sgan_against_numpy(batch):
    rng = np.random.default_rng(5)
    w = 0.2 * rng.standard_normal((32, 3)).astype(np.float32)
    labelled = rng.integers(0, 256, (9, 4, 4, 2), dtype=np.uint8), np.arange(9, dtype=np.int32) % 3

    noise = batch.noise.numpy()

    def discriminator(images, noise):
        classes = (tf.reshape(images, [-1, 32]) + noise) @ w
        return {"classes": classes, "logits": tf.reduce_logsumexp(classes, 1), "features": 2 * classes}

    networks = {**networks_of(np.ones((4, 4, 2), np.float32)), "discriminator": discriminator}
    d, g = SGAN(labelled=6, unlabelled_weight=0.6).updates(*labelled, num_labels=3, seed=0)
    labelled = few_labelled(*labelled, 3, 6, 0)
    chosen = (batch.u.numpy() * 6).astype(int)
    seen = labelled[0][chosen].reshape(5, 32) / np.float32(127.5) - 1 + noise[:, 0]
    supervised = cross_entropy(seen @ w, labelled[1][chosen])
    real_images = batch.images.numpy().reshape(5, 32)
    fake_images = networks["generator"](batch.z, None).numpy().reshape(5, 32)
    real, fake = (np.exp(each @ w).sum(axis=1) for each in (real_images + noise[:, 1], fake_images + noise[:, 2]))
    unsupervised = -0.5 * (np.log(real / (real + 1)) + np.log(1 - fake / (fake + 1)))
    loss, metrics = d.loss(networks, batch)
    np.testing.assert_allclose(loss, supervised + 0.6 * unsupervised, rtol=1e-4)
    np.testing.assert_array_equal(metrics["d_acc_real"], real > 1)
    np.testing.assert_array_equal(metrics["class_error"], (seen @ w).argmax(axis=1) != labelled[1][chosen])
    assert (d.needs_noise, g.needs_noise) == (3, 2)
    batch = dataclasses.replace(batch, noise=batch.noise[:, :2])
    difference = 2 * np.mean(real_images + noise[:, 0] - fake_images - noise[:, 1], axis=0) @ w
    np.testing.assert_allclose(g.loss(networks, batch)[0], np.full(5, np.sum(difference**2)), rtol=1e-3)


CODERS = ("autoencoder", "vae")  # which have no discriminator


@pytest.mark.parametrize(
    "config",
    [Config(objective=name, d_steps=steps) for name in sorted({*OBJECTIVES} - {*CODERS, "sgan"}) for steps in (1, 3)]
    + [Config(objective="nsgan", d_batches="split"), Config(objective="lsgan", r1=1.0, gp=2.0, penalty_every=3)],
    ids=lambda config: f"{config.objective}-{config.d_batches}-{config.d_steps}-{config.r1:g}",
)
def test_every_objective_keeps_the_interface(config, batch):
    config.validate()
    updates = updates_of(config)
    for update in updates:
        loss, metrics = update.loss(networks_of(np.ones((4, 4, 2), np.float32)), batch)
        assert loss.shape == (5,)
        assert set(metrics) == set(update.metrics)
        assert all(value.shape == (5,) for value in metrics.values())
    assert [update.network for update in updates][-1] == "generator"


# Every file of the package, and the tests that compare it with an independent computation.
CONFORMANCE = {
    "acgan": (test_acgan_adds_cross_entropies_against_numpy, test_acgan_of_attributes_against_numpy),
    "hinge": (test_simple_objectives_against_numpy,),
    "infogan": (test_infogan_adds_what_its_head_does_not_know_against_numpy,),
    "lsgan": (test_simple_objectives_against_numpy,),
    "minimax": (test_simple_objectives_against_numpy,),
    "nsgan": (test_nsgan_updates_against_numpy,),
    "penalties": (test_gradient_penalty_is_differentiable_in_the_weights, test_lazy_penalties_have_the_same_mean),
    "r3gan": (test_r3gan_updates_against_numpy,),
    "sgan": (test_sgan_against_numpy,),
    "vae": (test_vae_against_numpy, test_autoencoder_against_numpy),
    "wgan_gp": (test_wgan_gp_against_numpy,),
}


def test_every_objective_stands_in_the_conformance_table():
    common = {"__init__", "adversarial", "composition", "figures", "objective", "options", "update"}
    files = {path.stem for path in Path(objectives.__file__).parent.glob("*.py")} - common
    elsewhere = {"augment", "path_length", "style_mixing"}  # whose tests fill test_augment.py and test_styles.py
    assert files - elsewhere == set(CONFORMANCE)
    assert set(OBJECTIVES) <= {*files, "autoencoder"}  # which is in vae.py
    for name in files:
        assert "arXiv" in importlib.import_module(f"pipeline.objectives.{name}").__doc__


def judging(w, *more):
    """A discriminator that judges each image several times."""
    each = [linear(w), *more]
    return lambda images, labels: tf.stack([one(images, labels) for one in each], axis=1)


@pytest.mark.parametrize("objective", ["nsgan", "hinge", "lsgan", "minimax", "wgan_gp", "r3gan"])
def test_of_several_judgements_of_an_image_the_mean_counts(batch, objective):
    rng = np.random.default_rng(3)
    w, other = rng.standard_normal((2, 4, 4, 2)).astype(np.float32)
    more = {"augment_p": 0.0, "augment": "color"}  # which the judgements pass through
    more |= {} if objective == "r3gan" else {"r1": 1.0} if objective != "wgan_gp" else {"r2": 1.0}
    batch = dataclasses.replace(batch, augmentation=tf.zeros([5, 2, 12]), state={"augment_p": tf.constant(0.0)})
    updates = updates_of(Config(objective=objective, **more))
    alone = networks_of(w)
    twice = {**alone, "discriminator": judging(w, linear(w))}
    both = {**alone, "discriminator": judging(w, linear(other))}
    second = networks_of(other)
    for update in updates:
        expected, figures = update.loss(alone, batch)
        found, same = update.loss(twice, batch)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        assert found.shape == (5,)
        for name in update.metrics:
            np.testing.assert_allclose(same[name], figures[name], rtol=1e-5, err_msg=name)
        # Of unlike judgements each counts as much; penalties are those of the mean logit, and no mean.
        _, of_first = update.loss(alone, batch)
        _, of_second = update.loss(second, batch)
        _, of_both = update.loss(both, batch)
        for name in {*update.metrics} - {"r1", "r2", "gp"}:
            if objective != "wgan_gp" or name != "d_loss":  # which has the penalty in it
                mean = (of_first[name] + of_second[name]) / 2
                np.testing.assert_allclose(of_both[name], mean, rtol=1e-5, atol=1e-6, err_msg=name)
        squared = np.sum(((w + other) / 2) ** 2)
        if "r1" in update.metrics:
            np.testing.assert_allclose(of_both["r1"], np.full(5, squared), rtol=1e-4)
        if "gp" in update.metrics:
            np.testing.assert_allclose(of_both["gp"], np.full(5, (np.sqrt(squared) - 1) ** 2), rtol=1e-4)


def test_split_batches_take_several_judgements(batch):
    w = np.random.default_rng(3).standard_normal((4, 4, 2)).astype(np.float32)
    networks = {**networks_of(w), "discriminator": judging(w, linear(-w))}
    for update in updates_of(Config(objective="nsgan", d_batches="split")):
        loss, figures = update.loss(networks, batch)
        assert [each.shape for each in (loss, *figures.values())] == [(5,)] * (1 + len(figures))
