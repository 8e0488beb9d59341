"""The distributed step against plain loops of Keras and NumPy."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.cluster.strategy import make_strategy
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.objectives import Update
from pipeline.objectives.composition import compose
from pipeline.training.configured import trainee_of
from pipeline.training.feed import Layout, ResidentFeed
from pipeline.training.randomness import corners, data_order, flips, latents
from pipeline.training.step import TrainStep
from pipeline.training.trainee import Trainee

DATA = DataSpec("shapes", "", (16, 16, 1), ("a", "b", "c"), 21)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (21, 16, 16, 1), dtype=np.uint8)
LABELS = RNG.integers(0, 3, 21, dtype=np.int32)


def updates_of(config):
    """The updates of a configuration on these data."""
    return compose(config.to_dict()).updates(images=IMAGES, labels=LABELS, num_labels=3, seed=config.seed)


def step_of(config, strategy, *, trainee=None, data=DATA, images=IMAGES, updates=None, **how):
    """Returns a state and the step that trains it."""
    if trainee is None:
        with strategy.scope():
            trainee = trainee_of(config, data)
    updates = updates or updates_of(config)
    layout = Layout(updates, config.batch_size, config.accumulate, strategy.num_replicas_in_sync)
    feed = ResidentFeed(strategy, layout, images, LABELS, config.seed)
    return trainee, TrainStep(config, strategy, trainee, updates, feed, **how)


def make(config, strategy, **how):
    """Returns a state and a function that trains it for a number of steps and returns the metrics."""
    trainee, train_step = step_of(config, strategy, **how)
    return trainee, lambda count: train_step(tf.constant(count, tf.int64), tf.constant(0.0))[0].numpy()


def weights(trainee):
    models = [*trainee.networks.values(), *([trainee.ema] if trainee.ema else [])]
    # By position, because Keras numbers layer names through the whole process.
    return {f"{m}/{i}/{v.name}": np.asarray(v) for m, model in enumerate(models) for i, v in enumerate(model.variables)}


def test_one_step_equals_a_plain_keras_loop():
    config = Config(model="mlp", objective="nsgan", batch_size=4, latent_dim=6, ema_images=0, beta_1=0.5)
    trainee, train_step = make(config, make_strategy("one_device"))
    reference = trainee_of(config, DATA)
    generator, discriminator = reference.networks["generator"], reference.networks["discriminator"]
    train_step(1)

    bce = keras.losses.BinaryCrossentropy(from_logits=True)
    order = data_order(tf.range(4, dtype=tf.int64), 21, 0).numpy()
    real = IMAGES[order].astype(np.float32) / 127.5 - 1
    step = tf.constant(0, tf.int64)
    # Discriminator: one batch of both kinds, as Keras computes it.
    fake = generator(latents(step, 0, [(0, 4)], 6, 0), training=True)
    with tf.GradientTape() as tape:
        logits = tf.concat([discriminator(real), discriminator(fake)], 0)
        loss = bce(tf.constant([[1.0]] * 4 + [[0.0]] * 4), logits[:, None])
    optimizer = keras.optimizers.Adam(2e-4, beta_1=0.5, beta_2=0.99)
    trainable = discriminator.trainable_variables
    optimizer.apply(tape.gradient(loss, [v.value for v in trainable]), trainable)
    # Generator: D shall say "real".
    with tf.GradientTape() as tape:
        fake = generator(latents(step, 1, [(0, 4)], 6, 0), training=True)
        loss = bce(tf.ones([4, 1]), discriminator(fake)[:, None])
    optimizer = keras.optimizers.Adam(2e-4, beta_1=0.5, beta_2=0.99)
    trainable = generator.trainable_variables
    optimizer.apply(tape.gradient(loss, [v.value for v in trainable]), trainable)

    expected = weights(reference)  # a step of Adam moves most weights by 2e-4
    for name, value in weights(trainee).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=2e-5, err_msg=name)


TRAJECTORIES = {
    "mlp-nsgan-split": Config(model="mlp", objective="nsgan", d_batches="split", batch_size=16, beta_1=0.5, flip=True),
    "dcgan-r3gan-conditional": Config(
        model="dcgan", model_args="width=16", objective="r3gan", conditional=True, batch_size=16
    ),
    "mlp-wgan_gp-projection": Config(
        model="mlp", objective="wgan_gp", d_steps=2, conditional=True, conditioning="projection", batch_size=16
    ),
    "mlp-hinge-acgan-lazy": Config(
        model="mlp", objective="hinge", conditional=True, conditioning="acgan", r1=1.0, penalty_every=4, batch_size=16
    ),
    "mlp-nsgan-adaptive": Config(
        model="mlp", objective="nsgan", augment="translation,cutout,color", augment_adaptive=True, batch_size=16
    ),
    "mlp-r3gan-ada": Config(
        model="mlp",
        augment="bgcfnc",
        augment_adaptive=True,
        augment_adaptive_images=200,
        batch_size=16,
        accumulate=2,
    ),
    "mlp-hinge-lazy-ada": Config(
        model="mlp",
        objective="hinge",
        r1=1.0,
        penalty_every=2,
        augment="bgc",
        augment_scheduled=True,
        schedule_images=300,
        batch_size=16,
    ),
    "mlp-sgan": Config(model="mlp", objective="sgan", labelled=6, batch_size=16, lr_decay_images=400),
    "mlp-infogan-spectral": Config(
        model="mlp", objective="nsgan", categories=3, codes=2, spectral_norm=True, batch_size=16
    ),
    "mlp-nsgan-projection-spectral-lazy": Config(
        model="mlp",
        objective="nsgan",
        conditional=True,
        conditioning="projection",
        spectral_norm=True,
        r1=1.0,
        penalty_every=2,
        batch_size=16,
    ),
    "resnet-r3gan": Config(model="resnet", model_args="width=16", objective="r3gan", batch_size=16),
    "r3gan-with-everything": Config(
        model="r3gan",
        model_args="width=(8,8,4),group=4,blocks=1",
        conditional=True,
        conditioning="concat,projection,acgan",
        augment="translation,cutout,color",
        flip=True,
        batch_size=16,
        gamma=1.0,
        gamma_end=0.1,
        beta_2=0.5,
        beta_2_end=0.9,
        lr_decay_images=400,
        learning_rate_end=1e-4,
        ema_scheduled=True,
        schedule_images=200,
    ),
    "mlp-vae": Config(model="mlp", objective="vae", batch_size=16, lr_warmup_images=100),
    "mlp-autoencoder": Config(model="mlp", objective="autoencoder", batch_size=16),
}


def assert_same_trajectory(actual, expected, start, slack=1):
    """Compares (metrics of each call, weights) within rounding, or so many times as far apart.

    Adam makes a whole step of any gradient, however small; so a network's difference is measured as a
    whole, against how far it moved from `start`.
    """
    np.testing.assert_allclose(actual[0], expected[0], rtol=2e-5 * slack, atol=1e-6 * slack)
    assert actual[1].keys() == expected[1].keys()
    for network in {name.partition("/")[0] for name in start}:
        names = [name for name in start if name.startswith(network + "/")]
        apart, moved = (
            np.linalg.norm(np.concatenate([(actual[1][name] - other[name]).ravel() for name in names]))
            for other in (expected[1], start)
        )
        assert apart <= 1e-3 * slack * moved, f"network {network}: {apart} apart after moving by {moved}"


@pytest.fixture
def smooth(monkeypatch):
    """Builds networks without kinks: rounding that moves a unit across one changes its gradient for good."""
    monkeypatch.setattr(
        keras.layers, "LeakyReLU", lambda negative_slope, **more: keras.layers.Activation("softplus", **more)
    )
    monkeypatch.setattr(keras.layers, "ReLU", lambda: keras.layers.Activation("softplus"))


# Four replicas are tried of these here, and of the others in the slow test; two of all.
ON_FOUR = ("dcgan-r3gan-conditional", "mlp-nsgan-split", "mlp-sgan")


def followed(config, numbers):
    """Trains on so many replicas, and compares with the first of these numbers."""
    runs = {}
    for replicas in numbers:
        strategy = make_strategy("one_device") if replicas == 1 else make_strategy("mirrored", replicas)
        trainee, train = make(config, strategy)
        start = weights(trainee)
        runs[replicas] = [train(5) for _ in range(4)], weights(trainee)
        assert int(trainee.step.numpy()) == 20
        assert_same_trajectory(runs[replicas], runs[numbers[0]], start)


@pytest.mark.usefixtures("smooth")
@pytest.mark.parametrize("name", TRAJECTORIES)
def test_any_number_of_replicas_follows_the_trajectory_of_one(name):
    followed(TRAJECTORIES[name], (1, 2, 4) if name in ON_FOUR else (1, 2))


@pytest.mark.slow
@pytest.mark.usefixtures("smooth")
@pytest.mark.parametrize("name", [name for name in TRAJECTORIES if name not in ON_FOUR])
def test_four_replicas_follow_the_trajectory_of_one(name):
    followed(TRAJECTORIES[name], (1, 4))


@pytest.mark.usefixtures("smooth")
@pytest.mark.parametrize(
    "config",
    [
        TRAJECTORIES["dcgan-r3gan-conditional"],
        TRAJECTORIES["mlp-hinge-lazy-ada"],
        Config(
            model="r3gan", model_args="width=(4,4,4),group=4,blocks=1", gamma_end=0.1, schedule_images=99, batch_size=4
        ),
    ],
    ids=["dcgan", "mlp-lazy-ada", "r3gan"],
)
def test_xla_computes_the_same_step(config):
    (plain, train_plain), (compiled, train_compiled) = (
        make(config, make_strategy("one_device"), jit=jit) for jit in (False, True)
    )
    start = weights(plain)
    assert_same_trajectory(([train_compiled(3)], weights(compiled)), ([train_plain(3)], weights(plain)), start)


TALL = DataSpec("tall", "", (24, 16, 3), ("a", "b", "c"), 21)
LARGER = RNG.integers(0, 256, (21, 30, 20, 3), dtype=np.uint8)  # parts of these are TALL
WITH_LABELS = Config(
    model_args="width=4",
    conditional=True,
    conditioning="projection,acgan",
    augment="translation,cutout,color",
    flip=True,
    batch_size=16,
)


@pytest.mark.usefixtures("smooth")
@pytest.mark.parametrize(
    ("config", "replicas"),
    [
        (WITH_LABELS, 2),
        (Config(model="resnet", model_args="width=4,blocks=1", batch_size=16), 2),
        pytest.param(WITH_LABELS, 4, marks=pytest.mark.slow),
    ],
    ids=["dcgan", "resnet", "dcgan on four"],
)
def test_parts_of_tall_pictures_follow_the_trajectory_of_one_replica(config, replicas):
    runs = {}
    for number in (1, replicas):
        strategy = make_strategy("one_device") if number == 1 else make_strategy("mirrored", number)
        trainee, train = make(config, strategy, data=TALL, images=LARGER, margin=(6, 4))
        start = weights(trainee)
        runs[number] = [train(5), train(5)], weights(trainee)
        assert_same_trajectory(runs[number], runs[1], start)


@pytest.mark.parametrize(("replicas", "jit"), [(1, False), (1, True), (2, False)])
def test_networks_see_the_parts_that_were_drawn(replicas, jit):
    weight = RNG.normal(size=(24, 16, 3)).astype(np.float32)

    def loss(networks, batch):
        assert batch.images.shape[1:] == (24, 16, 3)
        seen = tf.reduce_sum(batch.images * weight, [1, 2, 3])
        return networks["discriminator"](batch.images, batch.labels), {"seen": seen}

    config = Config(model="mlp", batch_size=4, accumulate=3, flip=True, seed=5, ema_images=0)
    strategy = make_strategy("one_device") if replicas == 1 else make_strategy("mirrored", 2)
    updates = (Update("discriminator", loss, ("seen",)),)
    _, train = make(config, strategy, data=TALL, images=LARGER, updates=updates, margin=(6, 4), jit=jit)
    train(2)
    step = tf.constant(2, tf.int64)
    order = data_order(tf.range(24, 36, dtype=tf.int64), 21, 5).numpy()
    mirrored = flips(step, 0, [(0, 12)], 5).numpy()
    expected = []
    for index, (top, left), mirror in zip(order, corners(step, 0, [(0, 12)], (6, 4), 5).numpy(), mirrored, strict=True):
        part = LARGER[index, top : top + 24, left : left + 16].astype(np.float32) / 127.5 - 1
        expected.append(((part[:, ::-1] if mirror else part) * weight).sum())
    np.testing.assert_allclose(train(1), [np.mean(expected)], rtol=1e-4)


def without_batch_norm(config):
    """A pair whose samples don't meet in the batch."""
    generator = keras.Sequential(
        [keras.Input([config.latent_dim]), keras.layers.Dense(256), keras.layers.Reshape([16, 16, 1])]
    )
    discriminator = keras.Sequential(
        [
            keras.Input([16, 16, 1]),
            keras.layers.Flatten(),
            keras.layers.Dense(8, "softplus"),
            keras.layers.Dense(1),
            keras.layers.Reshape([]),
        ]
    )
    return Trainee({"generator": generator, "discriminator": discriminator}, None, config, compose(config.to_dict()))


@pytest.mark.parametrize("objective", ["nsgan", "r3gan"])
@pytest.mark.parametrize("replicas", [1, 2])
def test_accumulated_gradients_are_those_of_the_larger_batch(objective, replicas):
    runs = []
    for batch_size, accumulate in [(12, 1), (4, 3)]:
        config = Config(objective=objective, batch_size=batch_size, accumulate=accumulate, latent_dim=3, flip=True)
        strategy = make_strategy("one_device") if replicas == 1 else make_strategy("mirrored", 2)
        keras.utils.set_random_seed(0)
        with strategy.scope():
            trainee = without_batch_norm(config)
        start = weights(trainee)
        _, train = make(config, strategy, trainee=trainee)
        runs.append(([train(4)], weights(trainee)))
    assert_same_trajectory(*runs, start)


SUPERVISED = Config(objective="hinge", conditional=True, conditioning="acgan", codes=2, augment="translation", gp=1.0)


@pytest.mark.parametrize(
    ("config", "replicas"),
    [
        (SUPERVISED, 1),
        (SUPERVISED, 2),
        (Config(objective="sgan", labelled=6), 1),
        (Config(objective="vae"), 2),
        pytest.param(Config(objective="sgan", labelled=6), 2, marks=pytest.mark.slow),
        pytest.param(Config(objective="vae"), 1, marks=pytest.mark.slow),
    ],
    ids=lambda value: value.objective if isinstance(value, Config) else str(value),
)
def test_every_kind_of_loss_can_be_accumulated(config, replicas):
    config = dataclasses.replace(config, model="mlp", batch_size=4, accumulate=2)
    _, train = make(config, make_strategy("one_device") if replicas == 1 else make_strategy("mirrored", replicas))
    assert np.all(np.isfinite(train(2)))


def test_batch_norm_sees_one_micro_batch_at_a_time():
    config = Config(model="mlp", objective="nsgan", batch_size=4, accumulate=2)
    trainee, train = make(config, make_strategy("one_device"))
    assert np.all(np.isfinite(train(2)))
    moving = [v for v in trainee.networks["generator"].variables if v.name == "moving_mean"]
    assert all(np.abs(np.asarray(v)).max() > 0 for v in moving)


@pytest.mark.parametrize(
    "config",
    [
        Config(model="dcgan", model_args="width=16", objective="nsgan"),
        Config(model="dcgan", model_args="width=16", objective="r3gan"),
        Config(model="r3gan", model_args="width=(16,8,8),group=8,blocks=1", objective="r3gan"),
    ],
    ids=lambda config: f"{config.model}-{config.objective}",
)
def test_mixed_precision_stays_near_float32(config):
    metrics = []
    for each in ("float32", "mixed_bfloat16", "mixed_float16"):
        config = dataclasses.replace(config, batch_size=8, precision=each)
        trainee, train = make(config, make_strategy("one_device"))
        metrics.append(train(3))
        assert {v.dtype for v in trainee.networks["generator"].variables} == {"float32"}
        assert trainee.networks["generator"].compute_dtype == each.removeprefix("mixed_")
        assert trainee.sampler.compute_dtype == "float32"
    # bfloat16 has 8 significant bits.
    for found in metrics[1:]:
        np.testing.assert_allclose(found, metrics[0], rtol=0.1, atol=0.05)
        assert not np.array_equal(found, metrics[0])


def overflow_on(replica):
    """An objective whose loss is infinite on one replica in the first step."""

    def loss(networks, batch):
        logits = networks["discriminator"](networks["generator"](batch.z, batch.labels), batch.labels)
        here = tf.equal(tf.distribute.get_replica_context().replica_id_in_sync_group, replica)
        factor = tf.where(tf.logical_and(here, batch.labels[0] >= 0), np.float32(np.inf), 1.0)
        return logits * factor, {"d_loss": logits * factor}

    return (Update("discriminator", loss, ("d_loss",)),)


@pytest.mark.parametrize("replica", [0, 1])
def test_an_overflow_on_any_replica_skips_the_update_on_all(replica):
    config = Config(model="mlp", batch_size=4, precision="mixed_float16", ema_images=0)
    strategy = make_strategy("mirrored", 2)
    with strategy.scope():
        trainee = trainee_of(config, DATA)
    before = weights(trainee)
    updates = overflow_on(replica)
    feed = ResidentFeed(strategy, Layout(updates, 4, 1, 2), IMAGES, LABELS, 0)
    TrainStep(config, strategy, trainee, updates, feed)(tf.constant(1, tf.int64), tf.constant(0.0))
    optimizer = trainee.optimizers["discriminator"]
    for name, value in weights(trainee).items():
        if name.startswith("1/"):
            np.testing.assert_array_equal(value, before[name], err_msg=name)
    assert [float(copy.numpy()) for copy in optimizer.state["loss_scale"].values] == [2.0**14, 2.0**14]
    assert int(optimizer.state["updates"].numpy()) == 0


def reductions(config, trainee, strategy):
    """Returns (all-reduce operations in the traced graph of a step, over all replicas; updates; the step)."""
    updates = updates_of(config)
    feed = ResidentFeed(strategy, Layout(updates, 16, 1, 2), IMAGES, LABELS, 0)
    step = TrainStep(config, strategy, trainee, updates, feed)
    graph = step.trace(tf.constant(1, tf.int64), tf.constant(0.0)).as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    return sum("CollectiveReduce" in node.op for node in nodes), len(updates), step


@pytest.mark.parametrize(("objective", "d_batches"), [("nsgan", "joint"), ("nsgan", "split"), ("r3gan", "joint")])
def test_each_update_reduces_once(objective, d_batches):
    config = Config(objective=objective, d_batches=d_batches, batch_size=16, latent_dim=3)
    strategy = make_strategy("mirrored", 2)
    with strategy.scope():
        trainee = without_batch_norm(config)
    found, updates, _ = reductions(config, trainee, strategy)
    assert found == 2 * updates  # on each of two replicas


@pytest.mark.parametrize("objective", ["nsgan", "r3gan"])
def test_a_large_network_is_reduced_in_several_parts_to_the_same_bits(objective, monkeypatch):
    # Sums of two don't depend on their order.
    config = Config(objective=objective, batch_size=16, latent_dim=3)
    strategy = make_strategy("mirrored", 2)
    runs = []
    for bucket in (2**40, 100, 1):
        monkeypatch.setattr("pipeline.training.step._BUCKET", bucket)
        keras.utils.set_random_seed(0)
        with strategy.scope():
            trainee = without_batch_norm(config)
        found, updates, step = reductions(config, trainee, strategy)
        metrics = step(tf.constant(3, tf.int64), tf.constant(0.0))[0].numpy()
        runs.append({"metrics": metrics, **weights(trainee)})
        assert found == 2 * updates if bucket > 100 else found > 2 * updates
    for run in runs[1:]:
        for name, value in run.items():
            np.testing.assert_array_equal(value, runs[0][name], err_msg=name)


def test_synchronised_batch_norm_adds_its_own_reductions():
    config = TRAJECTORIES["dcgan-r3gan-conditional"]
    strategy = make_strategy("mirrored", 2)
    with strategy.scope():
        trainee = trainee_of(config, DATA)
    found, updates, _ = reductions(config, trainee, strategy)
    layers = sum(v.name == "moving_mean" for v in trainee.networks["generator"].variables)
    # One forward, in both updates, and one backward, in the generator's.
    assert found == 2 * (updates + layers * (2 + 1))


@pytest.mark.parametrize(
    "config",
    [
        # Widths and numbers of samples that don't begin at Philox's counts of four.
        Config(model="mlp", objective="wgan_gp", latent_dim=3, batch_size=4, accumulate=3, flip=True, augment="color"),
        Config(model="mlp", objective="sgan", labelled=6, latent_dim=7, batch_size=12, flip=True),
        Config(model="mlp", objective="nsgan", d_batches="split", latent_dim=5, batch_size=8, accumulate=2, flip=True),
    ],
    ids=lambda config: config.objective,
)
def test_replicas_draw_their_own_share_of_the_same_noise(config):
    def drawn(replicas):
        strategy = make_strategy("one_device") if replicas == 1 else make_strategy("mirrored", replicas)
        with strategy.scope():
            trainee = trainee_of(config, DATA)
        updates = updates_of(config)
        layout = Layout(updates, config.batch_size, config.accumulate, replicas)
        feed = ResidentFeed(strategy, layout, IMAGES, LABELS, config.seed)
        step = TrainStep(config, strategy, trainee, updates, feed)
        draw = tf.function(lambda: strategy.run(step._draw, args=(tf.constant(5, tf.int64),)))
        shares = [strategy.experimental_local_results(value) for value in tf.nest.flatten(draw())]
        parts = [[np.stack(np.split(each, config.accumulate)) for each in share] for share in shares]
        operations = draw.get_concrete_function().graph.get_operations()
        sizes = [op.outputs[0].shape.num_elements() for op in operations if op.type.startswith("StatelessRandom")]
        return [np.concatenate(each, axis=1) for each in parts], sum(sizes)

    one, numbers = drawn(1)
    for replicas in (2, 4):
        several, more = drawn(replicas)
        for actual, expected in zip(several, one, strict=True):
            np.testing.assert_array_equal(actual, expected)
        assert more < 1.5 * numbers  # and not `replicas` times as many


def test_replicas_hold_identical_weights():
    config = Config(model="dcgan", conditional=True, batch_size=4)
    trainee, train_step = make(config, make_strategy("mirrored", 2))
    train_step(3)
    for model in [*trainee.networks.values(), trainee.ema]:
        for variable in model.variables:
            first, second = (np.asarray(copy) for copy in variable.value.values)
            np.testing.assert_array_equal(first, second, err_msg=variable.path)


def test_how_steps_are_grouped_into_calls_does_not_matter():
    config = Config(model="mlp", objective="nsgan", batch_size=4)
    grouped, step_grouped = make(config, make_strategy("one_device"))
    single, step_single = make(config, make_strategy("one_device"))
    means = step_grouped(5)
    each = [step_single(1) for _ in range(5)]
    np.testing.assert_allclose(means, np.mean(each, axis=0), rtol=1e-5)
    expected = weights(single)
    for name, value in weights(grouped).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


@pytest.mark.parametrize(
    ("changes", "of_before", "images"),
    [
        ({}, False, 4),
        ({"accumulate": 3}, False, 12),
        ({"d_steps": 2}, False, 8),  # real images, of all updates, as the logs count them
        ({"d_batches": "split"}, False, 2),
        ({"d_steps": 2}, True, 4),  # what a run counts that began before
        ({"d_batches": "split", "accumulate": 3}, True, 12),
    ],
)
def test_ema_follows_its_half_life(changes, of_before, images):
    config = Config(model="mlp", objective="nsgan", batch_size=4, ema_images=1, **changes)
    strategy = make_strategy("one_device" if config.accumulate > 1 else "mirrored", 2)
    trainee, train_step = make(config, strategy, ema_counts_batches=of_before)
    expected = [np.asarray(v) for v in trainee.networks["generator"].variables]
    for step in range(1, 5):
        train_step(1)
        # The half life is 5 % of the images seen until that exceeds ema_images.
        keep = 0.5 ** (images / min(1, 0.05 * images * step))
        current = [np.asarray(v) for v in trainee.networks["generator"].variables]
        expected = [keep * e + (1 - keep) * c for e, c in zip(expected, current, strict=True)]
    for variable, value in zip(trainee.ema.variables, expected, strict=True):
        np.testing.assert_allclose(np.asarray(variable), value, rtol=1e-4, atol=1e-6)


def test_a_scheduled_average_follows_half_a_cosine():
    config = Config(
        model="mlp", objective="nsgan", batch_size=4, ema_images=20, ema_scheduled=True, schedule_images=12
    )  # fmt: skip
    trainee, train_step = make(config, make_strategy("one_device"))
    expected = [np.asarray(v) for v in trainee.networks["generator"].variables]
    for step in range(1, 5):
        train_step(1)
        half_life = 20 * (1 - np.cos(np.pi * min(1, 4 * step / 12))) / 2
        keep = 0.5 ** (4 / half_life)
        current = [np.asarray(v) for v in trainee.networks["generator"].variables]
        expected = [keep * e + (1 - keep) * c for e, c in zip(expected, current, strict=True)]
    for variable, value in zip(trainee.ema.variables, expected, strict=True):
        np.testing.assert_allclose(np.asarray(variable), value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_schedules_are_given_the_images_seen_before_the_step(accumulate):
    def loss(networks, batch):
        logits = networks["discriminator"](batch.images, batch.labels)
        return logits, {"seen": tf.ones_like(logits) * batch.seen}

    config = Config(model="mlp", batch_size=4, accumulate=accumulate, ema_images=0)
    _, train = make(config, make_strategy("one_device"), updates=(Update("discriminator", loss, ("seen",)),))
    assert [float(train(1)[0]) for _ in range(3)] == [0, 4 * accumulate, 8 * accumulate]
