import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from pipeline.base.errors import MirageError
from pipeline.cluster.strategy import make_strategy
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.objectives import Update
from pipeline.objectives.composition import compose
from pipeline.training.configured import trainee_of
from pipeline.training.feed import Layout, ResidentFeed
from pipeline.training.step import TrainStep
from pipeline.training.trainee import Trainee

IMAGES = np.zeros([4, 16, 16, 1], np.uint8)
CONFIG = Config(model="mlp", objective="nsgan", batch_size=4, latent_dim=3, ema_images=0)


def loss_of(more=lambda x: x):
    def loss(networks, batch):
        logits = networks["discriminator"](batch.images, batch.labels)
        return more(logits), {"d_loss": logits}

    return loss


def traced(make=list, loss=None, *, replicas=1, config=CONFIG):
    """Traces a step that trains a discriminator with these layers."""
    strategy = make_strategy("one_device") if replicas == 1 else make_strategy("mirrored", replicas)
    with strategy.scope():
        discriminator = keras.Sequential(
            [keras.Input([16, 16, 1]), layers.Flatten(), *make(), layers.Dense(1), layers.Reshape([])],
            name="discriminator",
        )
        trainee = Trainee({"discriminator": discriminator}, None, config, compose(config.to_dict()))
    updates = (Update("discriminator", loss or loss_of(), ("d_loss",)),)
    layout = Layout(updates, config.batch_size, config.accumulate, replicas)
    feed = ResidentFeed(strategy, layout, IMAGES, np.zeros(4, np.int32), 0)
    step = TrainStep(config, strategy, trainee, updates, feed)
    step.trace(tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.float32))
    return trainee


class Raw(layers.Layer):
    """Keeps a variable that Keras doesn't see."""

    def __init__(self):
        super().__init__(name="raw")
        self.scale = tf.Variable(1.0, name="scale")

    def call(self, x):
        return x * self.scale


class Plain:
    """Keras looks into no object of this kind."""

    def __init__(self):
        self.kept = {"scale": keras.Variable(1.0, name="hidden")}


class Hidden(layers.Layer):
    """Keeps one further within."""

    def __init__(self):
        super().__init__(name="hidden_layer")
        self.plain = Plain()

    def call(self, x):
        return x * self.plain.kept["scale"]


class Known(layers.Layer):
    """Keeps one as Keras wants it."""

    def build(self, shape):
        self.scale = self.add_weight(shape=[], initializer="ones", trainable=False)

    def call(self, x):
        return x * self.scale


def of_a_global():
    variable = tf.Variable(2.0, name="of_a_global")
    return [layers.Lambda(lambda x: x * variable)]


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: [Raw()],
            r"variable \S*scale\S* \(\) \(scale of layer raw of the discriminator\), .*self\.add_w",
        ),
        (
            lambda: [Hidden()],
            r"variable \S*hidden\S* \(\) \(plain of layer hidden_layer of the discriminator\), ",
        ),
        (of_a_global, r"variable of_a_global\S* \(\), which is no weight of the networks"),
    ],
    ids=["raw", "hidden", "global"],
)
def test_a_variable_that_would_not_be_saved_is_refused(make, message, replicas):
    with pytest.raises(MirageError, match=message) as raised:
        traced(make, replicas=replicas)
    assert "\n" not in str(raised.value)


def test_a_variable_of_an_objective_is_refused():
    variable = tf.Variable(1.0, name="temperature")
    with pytest.raises(MirageError, match=r"the variable temperature \(\), which is no weight of the networks"):
        traced(loss=loss_of(lambda logits: logits * variable))


def test_a_metric_in_a_loss_is_refused():
    metric = keras.metrics.Mean(name="counted")

    def counted(logits):
        metric.update_state(logits)
        return logits

    with pytest.raises(MirageError, match=r"keras\.metrics object would count"):
        traced(loss=loss_of(counted))


@pytest.mark.parametrize("own", [False, True])
def test_numbers_of_a_seed_generator_are_refused(own):
    generator = keras.random.SeedGenerator(1) if own else None

    def noisy(logits):
        return logits + keras.random.normal([4], seed=generator)

    with pytest.raises(MirageError, match=r"the state of a keras\.random\.SeedGenerator, whose numbers would be"):
        traced(loss=loss_of(noisy))


@pytest.mark.parametrize(
    ("draw", "name"),
    [
        (lambda: tf.random.normal([4]), "RandomStandardNormal"),
        (lambda: tf.random.uniform([4]), "RandomUniform"),
        (lambda: tf.random.shuffle(tf.range(4.0)), "RandomShuffle"),
        (lambda: tf.random.truncated_normal([4]), "TruncatedNormal"),
    ],
)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_numbers_that_can_not_be_drawn_again_are_refused(draw, name, accumulate):
    config = Config(model="mlp", objective="nsgan", batch_size=4, accumulate=accumulate, latent_dim=3, ema_images=0)
    with pytest.raises(MirageError, match=rf"the training step draws random numbers by {name} "):
        traced(loss=loss_of(lambda logits: logits + draw()), config=config)


@pytest.mark.parametrize("replicas", [1, 2])
def test_what_a_run_saves_is_welcome(replicas):
    trainee = traced(lambda: [Known(), layers.BatchNormalization()], replicas=replicas)
    assert any("moving_mean" in name for name in trainee.state())


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_all_of_mirages_own_state_is_known(precision):
    config = Config(
        model="mlp", objective="nsgan", augment="color", augment_adaptive=True, spectral_norm=True, precision=precision
    )
    strategy = make_strategy("mirrored", 2)
    with strategy.scope():
        trainee = trainee_of(config, DataSpec("shapes", "", (16, 16, 1), (), 4))
    updates = compose(config.to_dict()).updates()
    feed = ResidentFeed(strategy, Layout(updates, 64, 1, 2), IMAGES, np.zeros(4, np.int32), 0)
    TrainStep(config, strategy, trainee, updates, feed).trace(tf.constant(1, tf.int64), tf.constant(0.0))
