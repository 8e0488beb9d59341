"""The distributed step against plain loops of Keras and NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline import objectives
from pipeline.config import Config, DataSpec
from pipeline.step import TrainStep, build_trainee, data_order, latents
from pipeline.strategy import make_strategy

DATA = DataSpec("shapes", "", (16, 16, 1), ("a", "b", "c"), 21)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (21, 16, 16, 1), dtype=np.uint8)
LABELS = RNG.integers(0, 3, 21, dtype=np.int32)


def make(config, strategy):
    with strategy.scope():
        trainee = build_trainee(config, DATA)
    updates = objectives.updates(config.objective, d_batches=config.d_batches, gamma=config.gamma)
    return trainee, TrainStep(config, strategy, trainee, updates, tf.constant(IMAGES), tf.constant(LABELS))


def steps(count):
    return tf.constant(count, tf.int64)


def weights(trainee):
    models = [*trainee.networks.values(), *([trainee.ema] if trainee.ema else [])]
    # By position, because Keras numbers layer names through the whole process.
    return {f"{m}/{i}/{v.name}": np.asarray(v) for m, model in enumerate(models) for i, v in enumerate(model.variables)}


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


def test_one_step_equals_a_plain_keras_loop():
    config = Config(model="mlp", objective="nsgan", batch_size=4, latent_dim=6, ema_images=0, beta_1=0.5)
    trainee, train_step = make(config, make_strategy("one_device"))
    reference = build_trainee(config, DATA)
    generator, discriminator = reference.networks["generator"], reference.networks["discriminator"]
    train_step(steps(1))

    bce = keras.losses.BinaryCrossentropy(from_logits=True)
    order = data_order(tf.range(4, dtype=tf.int64), 21, 0).numpy()
    real = IMAGES[order].astype(np.float32) / 127.5 - 1
    step = tf.constant(0, tf.int64)
    # Discriminator: one batch of both kinds, as Keras computes it.
    fake = generator(latents(step, 0, 4, 6, 0), training=True)
    with tf.GradientTape() as tape:
        logits = tf.concat([discriminator(real), discriminator(fake)], 0)
        loss = bce(tf.constant([[1.0]] * 4 + [[0.0]] * 4), logits[:, None])
    optimizer = keras.optimizers.Adam(2e-4, beta_1=0.5, beta_2=0.99)
    trainable = discriminator.trainable_variables
    optimizer.apply(tape.gradient(loss, [v.value for v in trainable]), trainable)
    # Generator: D shall say "real".
    with tf.GradientTape() as tape:
        fake = generator(latents(step, 1, 4, 6, 0), training=True)
        loss = bce(tf.ones([4, 1]), discriminator(fake)[:, None])
    optimizer = keras.optimizers.Adam(2e-4, beta_1=0.5, beta_2=0.99)
    trainable = generator.trainable_variables
    optimizer.apply(tape.gradient(loss, [v.value for v in trainable]), trainable)

    expected = weights(reference)  # a step of Adam moves most weights by 2e-4
    for name, value in weights(trainee).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=2e-5, err_msg=name)


@pytest.mark.parametrize(
    "config",
    [
        Config(model="mlp", objective="nsgan", d_batches="split", batch_size=8, beta_1=0.5),
        Config(model="dcgan", objective="r3gan", conditional=True, batch_size=4),
    ],
    ids=["mlp-nsgan-split", "dcgan-r3gan-conditional"],
)
def test_two_replicas_follow_the_trajectory_of_one(config):
    one, step_one = make(config, make_strategy("one_device"))
    two, step_two = make(config, make_strategy("mirrored"))
    for _ in range(2):
        np.testing.assert_allclose(step_two(steps(2)), step_one(steps(2)), rtol=2e-3, atol=1e-4)
    assert int(two.step.numpy()) == 4
    expected = weights(one)
    for name, value in weights(two).items():
        # Adam divides tiny gradients by their own size, so rounding shows up as a share of its step.
        np.testing.assert_allclose(value, expected[name], rtol=1e-3, atol=2e-4, err_msg=name)


def test_replicas_hold_identical_weights():
    config = Config(model="dcgan", conditional=True, batch_size=4)
    trainee, train_step = make(config, make_strategy("mirrored"))
    train_step(steps(3))
    for model in [*trainee.networks.values(), trainee.ema]:
        for variable in model.variables:
            first, second = (np.asarray(copy) for copy in variable.value.values)
            np.testing.assert_array_equal(first, second, err_msg=variable.path)


def test_how_steps_are_grouped_into_calls_does_not_matter():
    config = Config(model="mlp", objective="nsgan", batch_size=4)
    grouped, step_grouped = make(config, make_strategy("one_device"))
    single, step_single = make(config, make_strategy("one_device"))
    means = step_grouped(steps(5)).numpy()
    each = [step_single(steps(1)).numpy() for _ in range(5)]
    np.testing.assert_allclose(means, np.mean(each, axis=0), rtol=1e-5)
    expected = weights(single)
    for name, value in weights(grouped).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_ema_follows_its_half_life():
    config = Config(model="mlp", objective="nsgan", batch_size=4, ema_images=1)
    trainee, train_step = make(config, make_strategy("mirrored"))
    expected = [np.asarray(v) for v in trainee.networks["generator"].variables]
    for step in range(1, 5):
        train_step(steps(1))
        # The half life is 5 % of the images seen until that exceeds ema_images.
        keep = 0.5 ** (4 / min(1, 0.05 * 4 * step))
        current = [np.asarray(v) for v in trainee.networks["generator"].variables]
        expected = [keep * e + (1 - keep) * c for e, c in zip(expected, current, strict=True)]
    for variable, value in zip(trainee.ema.variables, expected, strict=True):
        np.testing.assert_allclose(np.asarray(variable), value, rtol=1e-4, atol=1e-6)


def test_images_per_step_counts_real_images():
    split = Config(model="mlp", objective="nsgan", d_batches="split", batch_size=8)
    assert make(split, make_strategy("one_device"))[1].images_per_step == 4
    joint = Config(model="mlp", objective="nsgan", batch_size=8)
    assert make(joint, make_strategy("one_device"))[1].images_per_step == 8
