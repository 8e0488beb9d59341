"""What --augment_adaptive does while D learns its pictures by heart, and while it can't."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.cluster.strategy import make_strategy
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.objectives.composition import compose
from pipeline.training.configured import trainee_of
from pipeline.training.feed import Layout, ResidentFeed
from pipeline.training.step import TrainStep

SIDE, FIRST = 6, 0.2


class Noise:
    """A generator whose images are new ones of the data's own law, and a D that could learn some by heart."""

    def build_generator(self, latent_dim, image_shape, num_classes):
        z = keras.Input([latent_dim], name="z")
        hardly = 1e-9 * keras.layers.Dense(latent_dim)(z)
        return keras.Model(z, keras.layers.Reshape(image_shape)(keras.ops.tanh(z + hardly)))

    def build_features(self, image_shape, num_classes):
        image = keras.Input(image_shape, name="image")
        hidden = keras.layers.Dense(128)(keras.layers.Flatten()(image))
        return keras.Model(image, keras.layers.LeakyReLU(negative_slope=0.2)(hidden))


def last_p(objective, pictures, steps):
    config = Config(
        objective=objective,
        latent_dim=SIDE * SIDE,
        batch_size=16,
        learning_rate=0.002,
        ema_images=0,
        augment="noise",
        augment_adaptive=True,
        augment_adaptive_images=4000,
        **({"gamma": 0.01} if objective == "r3gan" else {}),
    )
    values = np.tanh(np.random.default_rng(1).normal(size=(pictures, SIDE, SIDE, 1)))
    images, labels = np.round((values + 1) * 127.5).astype(np.uint8), np.zeros(pictures, np.int32)
    data, strategy = DataSpec("noise", "", (SIDE, SIDE, 1), (), pictures), make_strategy("one_device")
    with strategy.scope():
        trainee = trainee_of(config, data, objects={"model": Noise()})
    trainee.scalars["augment_p"].assign(FIRST)
    updates = compose(config.to_dict()).updates()
    feed = ResidentFeed(strategy, Layout(updates, 16, 1, 1), images, labels, 0)
    step = TrainStep(config, strategy, trainee, updates, feed)
    step(tf.constant(steps, tf.int64), tf.constant(0.0))
    return float(trainee.scalars["augment_p"].numpy())


@pytest.mark.parametrize("objective", ["r3gan", "nsgan"])
def test_p_rises_where_d_knows_its_pictures_and_falls_where_it_cannot(objective):
    assert last_p(objective, 16, 400) > 2 * FIRST
    assert last_p(objective, 100_000, 400) < FIRST / 2
