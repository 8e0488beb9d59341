"""Networks that draw random numbers in their layers, against themselves on other numbers of replicas."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from pipeline.base.errors import MirageError
from pipeline.cluster.strategy import make_strategy
from pipeline.config import Config
from pipeline.networks.adopt import adopt
from pipeline.objectives.composition import compose
from pipeline.training import compiled_philox
from pipeline.training.layer_numbers import LayerNumbers
from pipeline.training.trainee import Trainee
from tests.pipeline.training.test_step import assert_same_trajectory, make, weights


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("key", "first", "step"), [(5, 0, 0), (2**31 + 7 | 7 << 32 | 77 << 40, 2**32 - 3, 2**33 + 5)])
def test_xla_draws_the_numbers_of_tensorflows_kernels(key, first, step, compiled):
    where = {"key": tf.constant([key], tf.uint64), "counter": tf.constant([first, step], tf.uint64), "alg": 1}
    for size in (1, 1003):
        draws = [functools.partial(each, shape=[size]) for each in (compiled_philox.uniform, compiled_philox.normal)]
        uniform, normal = tf.function(lambda d=draws: [each(**where) for each in d], jit_compile=compiled)()
        np.testing.assert_array_equal(uniform, tf.raw_ops.StatelessRandomUniformV2(shape=[size], **where))
        np.testing.assert_allclose(normal, tf.raw_ops.StatelessRandomNormalV2(shape=[size], **where), atol=4e-6)


def drawn(kind="uniform", *, step=0, update=0, count=6, parts=1, part=0, seed=0, rows=6, calls=1, numbers=50):
    """What the last of some calls of a layer draws."""
    source = LayerNumbers(tf.constant(step, tf.int64), update, count, parts, seed, compiled=False).of_part(part)
    with source.given("discriminator", tf.zeros([rows, 1])):
        return [getattr(source, kind)("noise", rows, numbers).numpy() for _ in range(calls)][-1]


def test_numbers_differ_between_seeds_steps_updates_calls_samples_and_blocks():
    wide = {"numbers": 4000}
    draws = [
        drawn(**wide),
        drawn(seed=1, **wide),
        drawn(step=1, **wide),
        drawn(update=1, **wide),
        drawn(calls=2, **wide),
        drawn(update=1, calls=2, **wide),
        drawn(parts=2, part=1, rows=12, **wide),  # of whole batches of 12: samples 6 to 11, and of the second block
    ]
    samples = np.concatenate(draws)
    assert abs(samples.mean() - 0.5) < 0.005
    assert abs(samples.var() - 1 / 12) < 0.002
    # 4,000 draws: correlations have a standard error of 0.016.
    correlations = np.corrcoef(samples)[np.triu_indices(len(samples), 1)]
    assert np.abs(correlations).max() < 0.08
    normal = drawn("normal", rows=12, **wide)
    assert abs(normal.mean()) < 0.02
    assert abs(normal.var() - 1) < 0.03
    np.testing.assert_array_equal(drawn(step=3, calls=2), drawn(step=3, calls=2))


@pytest.mark.parametrize("numbers", [1, 4, 6])
def test_replicas_and_micro_batches_draw_their_share(numbers):
    whole = drawn(count=12, rows=24, numbers=numbers, step=5)
    blocks = whole.reshape(2, 12, numbers)
    for part in range(2):
        share = drawn(count=6, parts=2, part=part, rows=12, numbers=numbers, step=5)
        np.testing.assert_array_equal(share.reshape(2, 6, numbers), blocks[:, 6 * part : 6 * part + 6])
    strategy = make_strategy("mirrored", 3)
    draw = tf.function(lambda: source_in_graph(12, 8, numbers))
    shares = strategy.experimental_local_results(strategy.run(draw))
    for replica, share in enumerate(shares):
        expected = blocks[:, 4 * replica : 4 * replica + 4]
        np.testing.assert_array_equal(np.asarray(share).reshape(2, 4, numbers), expected)


def source_in_graph(count, rows, numbers):
    source = LayerNumbers(tf.constant(5, tf.int64), 0, count, 1, 0, compiled=False)
    with source.given("discriminator", tf.zeros([rows, 1])):
        return source.uniform("noise", rows, numbers)


def test_every_kth_sample_draws_its_own_numbers_wherever_the_batch_is_cut():
    whole = drawn(rows=4, count=8)
    np.testing.assert_array_equal(whole[:2], drawn(rows=2, count=8))
    parts = [drawn(rows=2, count=4, parts=2, part=part) for part in (0, 1)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    with pytest.raises(MirageError, match="was called with 3 samples where the batch has 8 on each replica"):
        drawn(rows=3, count=8)


def pair(config, *, batch_norm):
    """A pair with a layer of each kind, without kinks, and with Keras's own layers before they are adopted."""
    keras.utils.set_random_seed(0)
    normalise = [layers.BatchNormalization] * batch_norm
    generator = keras.Sequential(
        [
            keras.Input([config.latent_dim]),
            layers.Dense(16),
            *(each() for each in normalise),
            layers.Dropout(0.3),
            layers.Dense(256),
            layers.GaussianNoise(0.2),
            layers.Reshape([16, 16, 1]),
        ],
        name="generator",
    )
    discriminator = keras.Sequential(
        [
            keras.Input([16, 16, 1]),
            layers.GaussianNoise(0.1),
            layers.Conv2D(5, 5, strides=4, activation="softplus"),
            *(each(synchronized=True, axis=3) for each in normalise),
            layers.SpatialDropout2D(0.3),
            layers.Flatten(),
            layers.GaussianDropout(0.1),
            layers.Dense(7, "softplus"),
            layers.Dropout(0.4),
            layers.AlphaDropout(0.1),
            layers.Dense(1),
            layers.Reshape([]),
        ],
        name="discriminator",
    )
    assert len(adopt(generator)) == 2 + batch_norm
    assert len(adopt(discriminator)) == 5 + batch_norm
    return Trainee({"generator": generator, "discriminator": discriminator}, None, config, compose(config.to_dict()))


def run(config, *, replicas=1, jit=False, batch_norm=True, calls=(3,)):
    """Returns what `assert_same_trajectory` compares, the weights at the start, and the state."""
    strategy = make_strategy("one_device") if replicas == 1 else make_strategy("mirrored", replicas)
    with strategy.scope():
        trainee = pair(config, batch_norm=batch_norm)
    start = weights(trainee)
    _, train = make(config, strategy, trainee=trainee, jit=jit)
    metrics = [train(count) for count in calls]
    return (metrics, weights(trainee)), start, trainee


CONFIGS = {
    "joint": Config(objective="r3gan", batch_size=8, latent_dim=3),
    "split": Config(objective="nsgan", d_batches="split", batch_size=16, latent_dim=3, flip=True),
    "lazy": Config(objective="hinge", d_steps=2, r1=1.0, penalty_every=2, batch_size=8, latent_dim=3),
}


@pytest.mark.parametrize(
    ("name", "replicas"), [("joint", 4), ("split", 2), ("lazy", 2), pytest.param("joint", 2, marks=pytest.mark.slow)]
)
def test_any_number_of_replicas_follows_the_trajectory_of_one(name, replicas):
    config, batch_norm = CONFIGS[name], name != "lazy"
    expected, start, _ = run(config, batch_norm=batch_norm)
    actual, _, trainee = run(config, batch_norm=batch_norm, replicas=replicas)
    assert_same_trajectory(actual, expected, start)
    for model in trainee.networks.values():
        for variable in model.variables:
            first, *others = (np.asarray(copy) for copy in variable.value.values)
            for other in others:
                np.testing.assert_array_equal(other, first, err_msg=variable.path)


def test_xla_computes_the_same_steps():
    expected, start, _ = run(CONFIGS["joint"])
    assert_same_trajectory(run(CONFIGS["joint"], jit=True)[0], expected, start)


@pytest.mark.parametrize(("name", "replicas"), [("joint", 1), ("joint", 2), ("split", 1)])
def test_accumulated_micro_batches_draw_what_the_larger_batch_does(name, replicas):
    whole, start, _ = run(CONFIGS[name], batch_norm=False)
    config = dataclasses.replace(CONFIGS[name], batch_size=CONFIGS[name].batch_size // 2, accumulate=2)
    assert_same_trajectory(run(config, batch_norm=False, replicas=replicas)[0], whole, start)


def test_a_run_goes_on_to_the_same_bits():
    config = CONFIGS["joint"]
    (_, expected), _, _ = run(config, calls=(4,))
    _, _, stopped = run(config, calls=(1, 1))
    saved = {name: variable.numpy() for name, variable in stopped.state().items()}
    assert not any("seed" in name for name in saved)
    trainee = pair(config, batch_norm=True)
    _, train = make(config, make_strategy("one_device"), trainee=trainee)
    for name, variable in trainee.state().items():
        variable.assign(saved[name])
    train(2)
    for name, value in weights(trainee).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def traced(discriminator, *, batch_size=4):
    """Traces a step with a discriminator of these layers."""
    config = Config(objective="nsgan", batch_size=batch_size, latent_dim=3)
    trainee = pair(config, batch_norm=False)
    model = keras.Sequential(
        [keras.Input([16, 16, 1]), *discriminator, layers.Flatten(), layers.Dense(1), layers.Reshape([])],
        name="discriminator",
    )
    adopt(model)
    trainee = Trainee(
        {"generator": trainee.networks["generator"], "discriminator": model}, None, config, compose(config.to_dict())
    )
    _, train = make(config, make_strategy("one_device"), trainee=trainee)
    train(1)


class Folded(layers.Layer):
    """Takes the rows of each image for samples."""

    def __init__(self):
        super().__init__()
        self.dropout = layers.Dropout(0.5, name="inner")

    def call(self, x, training=None):
        return keras.ops.reshape(self.dropout(keras.ops.reshape(x, [-1, 16]), training=training), [-1, 16, 16, 1])


class Decorated(Folded):
    """Draws within a function of its own."""

    @tf.function
    def call(self, x, training=None):
        return self.dropout(x, training=training)


class Recomputed(Folded):
    """Draws again for its gradient."""

    def call(self, x, training=None):
        return tf.recompute_grad(lambda y: self.dropout(y, training=training))(x)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Folded, "layer inner of the discriminator .* is given 128 rows where the discriminator was called with 8; "),
        (Decorated, "layer inner of the discriminator draws random numbers within a tf.function, "),
        (Recomputed, r"layer inner \(Dropout\) was called with training=True outside of a training step"),
    ],
)
def test_what_can_not_be_exact_is_refused_in_one_sentence(layer, message):
    with pytest.raises(MirageError, match=f"^{message}") as raised:
        traced([layer()])
    assert "\n" not in str(raised.value)


def test_a_branch_may_draw():
    class Branching(Folded):
        def call(self, x, training=None):
            return tf.cond(tf.reduce_sum(x) > 0, lambda: self.dropout(x, training=training), lambda: x)

    traced([Branching()])


def test_a_network_is_called_with_whole_batches():
    with pytest.raises(MirageError, match=r"^layer noise of the discriminator .* was called with 7 samples where"):
        drawn(rows=7)
