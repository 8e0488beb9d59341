"""Keras 3 as its own DCGAN example does it: a model with a `train_step` of its own, and `fit`."""

import keras
import numpy as np
import tensorflow as tf

from benchmarks.contestants.ours import config_of
from benchmarks.worker import Rounds, Work
from pipeline.base.needs import Needs
from pipeline.data.dataset import describe
from pipeline.networks import build as networks

_LATENT_DIM = 100


class _Gan(keras.Model):
    def __init__(self, generator: keras.Model, discriminator: keras.Model, split: bool) -> None:
        super().__init__()
        self.generator, self.discriminator, self.split = generator, discriminator, split
        self.d_optimizer, self.g_optimizer = (keras.optimizers.Adam(2e-4, beta_1=0.5) for _ in range(2))
        self.loss_function = keras.losses.BinaryCrossentropy(from_logits=True)
        self.d_tracker, self.g_tracker = keras.metrics.Mean("d_loss"), keras.metrics.Mean("g_loss")

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.d_tracker, self.g_tracker]

    def _d_update(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = self.discriminator(images, training=True)
            loss = self.loss_function(labels, logits[:, None])
        weights = self.discriminator.trainable_weights
        self.d_optimizer.apply(tape.gradient(loss, weights), weights)
        return loss

    def train_step(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        count = images.shape[0]
        ones, zeros = tf.ones([count, 1]), tf.zeros([count, 1])
        generated = self.generator(tf.random.normal([count, _LATENT_DIM]), training=True)
        if self.split:
            d_loss = (self._d_update(images, ones) + self._d_update(generated, zeros)) / 2
            count *= 2
        else:
            d_loss = self._d_update(tf.concat([images, generated], 0), tf.concat([ones, zeros], 0))
        with tf.GradientTape() as tape:
            generated = self.generator(tf.random.normal([count, _LATENT_DIM]), training=True)
            g_loss = self.loss_function(tf.ones([count, 1]), self.discriminator(generated, training=True)[:, None])
        weights = self.generator.trainable_weights
        self.g_optimizer.apply(tape.gradient(g_loss, weights), weights)
        self.d_tracker.update_state(d_loss)
        self.g_tracker.update_state(g_loss)
        return {"d_loss": self.d_tracker.result(), "g_loss": self.g_tracker.result()}


def run(work: Work, rounds: Rounds) -> None:
    """See `benchmarks.contestants`."""
    config = config_of(work, "unused")
    data = describe(config)
    split = work.networks == "mlp"
    gan = _Gan(networks.build_generator(config, data), networks.build_discriminator(config, data, Needs()), split)
    images = np.load(work.images).astype(np.float32) / 127.5 - 1
    count = work.batch_size // 2 if split else work.batch_size
    dataset = tf.data.Dataset.from_tensor_slices(images).cache().shuffle(len(images)).repeat()
    batches = dataset.batch(count, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
    gan.compile()
    rounds.ready(
        generator=sum(v.value.shape.num_elements() for v in gan.generator.trainable_weights),
        discriminator=sum(v.value.shape.num_elements() for v in gan.discriminator.trainable_weights),
    )
    for steps in rounds:
        history = gan.fit(batches, steps_per_epoch=steps, verbose=0).history
        assert all(np.isfinite(values).all() for values in history.values())
