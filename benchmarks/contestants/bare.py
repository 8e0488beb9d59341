"""The practical ceiling: a bare `tf.function` loop over Mirage's networks and optimiser, and nothing else.

No strategy, no logged figures but the losses, no reproducible noise, no files. `options["jit"]` has XLA
compile the step.
"""

import keras
import numpy as np
import tensorflow as tf

from benchmarks.contestants.ours import config_of
from benchmarks.worker import Rounds, Work
from pipeline.base.needs import Needs
from pipeline.data.dataset import describe
from pipeline.networks import build as networks
from pipeline.training.optimizer import Adam

_LATENT_DIM = 100


def _softplus_mean(logits: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.nn.softplus(logits))


class _Pair:
    def __init__(self, generator: keras.Model, discriminator: keras.Model) -> None:
        self.generator, self.discriminator = generator, discriminator
        self.g_optimizer, self.d_optimizer = (
            Adam([v.value for v in model.trainable_variables], beta_1=0.5, beta_2=0.999)
            for model in (generator, discriminator)
        )

    def split_step(self, images: tf.Tensor) -> tf.Tensor:
        half = images.shape[0]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.d_optimizer.variables)
            real = _softplus_mean(-self.discriminator(images, training=True))
        self.d_optimizer.apply(tape.gradient(real, self.d_optimizer.variables), 2e-4)
        generated = self.generator(tf.random.normal([half, _LATENT_DIM]), training=True)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.d_optimizer.variables)
            fake = _softplus_mean(self.discriminator(generated, training=True))
        self.d_optimizer.apply(tape.gradient(fake, self.d_optimizer.variables), 2e-4)
        return tf.stack([(real + fake) / 2, self._g_update(2 * half)])

    def joint_step(self, images: tf.Tensor) -> tf.Tensor:
        count = images.shape[0]
        generated = self.generator(tf.random.normal([count, _LATENT_DIM]), training=True)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.d_optimizer.variables)
            real, fake = tf.split(self.discriminator(tf.concat([images, generated], 0), training=True), 2)
            loss = (_softplus_mean(-real) + _softplus_mean(fake)) / 2
        self.d_optimizer.apply(tape.gradient(loss, self.d_optimizer.variables), 2e-4)
        return tf.stack([loss, self._g_update(count)])

    def _g_update(self, count: int) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.g_optimizer.variables)
            generated = self.generator(tf.random.normal([count, _LATENT_DIM]), training=True)
            loss = _softplus_mean(-self.discriminator(generated, training=True))
        self.g_optimizer.apply(tape.gradient(loss, self.g_optimizer.variables), 2e-4)
        return loss


def run(work: Work, rounds: Rounds) -> None:
    """See `benchmarks.contestants`."""
    config = config_of(Work(work.networks, work.batch_size, work.images, work.round_steps), "unused")
    data = describe(config)
    pair = _Pair(networks.build_generator(config, data), networks.build_discriminator(config, data, Needs()))
    step = pair.split_step if work.networks == "mlp" else pair.joint_step
    compiled = tf.function(step, jit_compile=bool(work.options.get("jit")))
    count = work.batch_size // 2 if work.networks == "mlp" else work.batch_size
    pixels = tf.constant(np.load(work.images))

    @tf.function
    def train(steps: tf.Tensor) -> tf.Tensor:
        losses = tf.zeros([2])
        for _ in tf.range(steps):
            chosen = tf.random.uniform([count], 0, len(pixels), tf.int32)
            losses += compiled(tf.cast(tf.gather(pixels, chosen), tf.float32) / 127.5 - 1)
        return losses / tf.cast(steps, tf.float32)

    rounds.ready(
        generator=sum(v.shape.num_elements() for v in pair.g_optimizer.variables),
        discriminator=sum(v.shape.num_elements() for v in pair.d_optimizer.variables),
    )
    for steps in rounds:
        assert np.isfinite(train(tf.constant(steps)).numpy()).all()
