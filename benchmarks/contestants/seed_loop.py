"""The classic tutorial's loop in tf-keras: `predict`, then `train_on_batch` three times, from Python.

The networks and the schedule are the tutorial's; for "dcgan" the same loop trains Mirage's convolutional
pair. As there, the generator is trained through a model of both whose discriminator is frozen.
"""

import numpy as np
import tf_keras
from tf_keras import layers

from benchmarks.worker import Rounds, Work

_LATENT_DIM = 100
_SHAPE = (28, 28, 1)


def _mlp() -> tuple[tf_keras.Model, tf_keras.Model]:
    generator = tf_keras.Sequential([layers.Input([_LATENT_DIM])])
    for units in (256, 512, 1024):
        generator.add(layers.Dense(units))
        generator.add(layers.LeakyReLU(0.2))
        generator.add(layers.BatchNormalization(momentum=0.8))
    generator.add(layers.Dense(784, activation="tanh"))
    generator.add(layers.Reshape(_SHAPE))
    discriminator = tf_keras.Sequential([layers.Input(_SHAPE), layers.Flatten()])
    for units in (512, 256):
        discriminator.add(layers.Dense(units))
        discriminator.add(layers.LeakyReLU(0.2))
    discriminator.add(layers.Dense(1, activation="sigmoid"))
    return generator, discriminator


def _dcgan() -> tuple[tf_keras.Model, tf_keras.Model]:
    generator = tf_keras.Sequential([layers.Input([_LATENT_DIM]), layers.Dense(7 * 7 * 128, use_bias=False)])
    generator.add(layers.BatchNormalization(momentum=0.9))
    generator.add(layers.ReLU())
    generator.add(layers.Reshape([7, 7, 128]))
    for filters in (64, 32):
        generator.add(layers.Conv2DTranspose(filters, 4, strides=2, padding="same", use_bias=False))
        generator.add(layers.BatchNormalization(momentum=0.9))
        generator.add(layers.ReLU())
    generator.add(layers.Conv2D(1, 3, padding="same", activation="tanh"))
    discriminator = tf_keras.Sequential([layers.Input(_SHAPE)])
    for filters, kernel in ((32, 4), (64, 4), (128, 3)):
        discriminator.add(layers.Conv2D(filters, kernel, strides=2, padding="same"))
        discriminator.add(layers.LeakyReLU(0.2))
    discriminator.add(layers.Flatten())
    discriminator.add(layers.Dense(1, activation="sigmoid"))
    return generator, discriminator


def _size(model: tf_keras.Model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def run(work: Work, rounds: Rounds) -> None:
    """See `benchmarks.contestants`."""
    generator, discriminator = {"mlp": _mlp, "dcgan": _dcgan}[work.networks]()
    sizes = {"generator": _size(generator), "discriminator": _size(discriminator)}
    discriminator.compile(tf_keras.optimizers.Adam(2e-4, 0.5), "binary_crossentropy", metrics=["accuracy"])
    discriminator.trainable = False
    z = layers.Input([_LATENT_DIM])
    combined = tf_keras.Model(z, discriminator(generator(z)))
    combined.compile(tf_keras.optimizers.Adam(2e-4, 0.5), "binary_crossentropy")
    images = np.load(work.images).astype(np.float32) / 127.5 - 1
    count = work.batch_size // 2 if work.networks == "mlp" else work.batch_size
    rng = np.random.default_rng(0)
    rounds.ready(**sizes)
    for steps in rounds:
        for _ in range(steps):
            real = images[rng.integers(0, len(images), count)]
            generated = generator.predict(rng.standard_normal([count, _LATENT_DIM], np.float32), verbose=0)
            discriminator.train_on_batch(real, np.ones([count, 1]))
            discriminator.train_on_batch(generated, np.zeros([count, 1]))
            latents = rng.standard_normal([work.batch_size, _LATENT_DIM], np.float32)
            loss = combined.train_on_batch(latents, np.ones([work.batch_size, 1]))
        assert np.isfinite(loss)
