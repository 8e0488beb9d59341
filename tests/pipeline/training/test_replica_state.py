import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from pipeline.base.errors import MirageError
from pipeline.cluster.strategy import make_strategy
from pipeline.config import Config
from pipeline.objectives import Update
from pipeline.objectives.composition import compose
from pipeline.training.feed import Layout, ResidentFeed
from pipeline.training.step import TrainStep
from pipeline.training.trainee import Trainee

IMAGES = np.random.default_rng(0).integers(0, 256, [4, 16, 16, 1], dtype=np.uint8)


class Centred(layers.Layer):
    """Somebody's batch norm."""

    def __init__(self, aggregation):
        super().__init__(name="centred")
        self.aggregation = aggregation

    def build(self, shape):
        self.mean = self.add_weight(shape=[shape[-1]], trainable=False, aggregation=self.aggregation, name="average")

    def call(self, x, training=None):
        if training:
            self.mean.assign(0.9 * self.mean + 0.1 * tf.reduce_mean(x, 0))
        return x


def loss(networks, batch):
    logits = networks["discriminator"](batch.images, batch.labels)
    return logits, {"d_loss": logits}


def trained(layer, replicas, accumulate=1):
    """Trains two steps, and returns each replica's copy of the layer's weight."""
    config = Config(batch_size=4 // accumulate, accumulate=accumulate, latent_dim=3, ema_images=0)
    strategy = make_strategy("one_device") if replicas == 1 else make_strategy("mirrored", replicas)
    keras.utils.set_random_seed(0)
    with strategy.scope():
        layer = layer()
        discriminator = keras.Sequential(
            [keras.Input([16, 16, 1]), layers.Flatten(), layer, layers.Dense(1), layers.Reshape([])],
            name="discriminator",
        )
        trainee = Trainee({"discriminator": discriminator}, None, config, compose(config.to_dict()))
    updates = (Update("discriminator", loss, ("d_loss",)),)
    layout = Layout(updates, config.batch_size, accumulate, replicas)
    feed = ResidentFeed(strategy, layout, IMAGES, np.zeros(4, np.int32), 0)
    step = TrainStep(config, strategy, trainee, updates, feed)
    step(tf.constant(2, tf.int64), tf.constant(0.0))
    value = layer.non_trainable_variables[0].value
    return [np.asarray(copy) for copy in getattr(value, "values", [value])]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_layer_that_would_drift_apart_is_refused(accumulate):
    with pytest.raises(MirageError, match=r"^layer centred \(Centred\) of the discriminator assigns its weight "):
        trained(lambda: Centred("none"), 2, accumulate)


def test_what_all_replicas_share_may_be_assigned():
    (expected,) = trained(lambda: Centred("none"), 1)
    for copy in trained(lambda: Centred("mean"), 2):
        np.testing.assert_allclose(copy, expected, rtol=1e-5, atol=1e-6)


def test_keras_spectral_normalisation_stays_alike_on_all_replicas():
    def make():
        return layers.SpectralNormalization(layers.Dense(3, activation="tanh"))

    (expected,) = trained(make, 1)
    for copy in trained(make, 2):
        np.testing.assert_allclose(copy, expected, rtol=1e-4, atol=1e-5)
