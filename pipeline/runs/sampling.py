"""Pictures of image seeds, as bundles make them, from a generator that is a Keras model."""

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.base.errors import MirageError
from pipeline.data.spec import DataSpec
from pipeline.devices.numerics import full_float32
from pipeline.networks.options import NetworkOptions
from pipeline.runs.preview import to_pixels
from serving.arguments import INT64, whole
from serving.contract.latents import latents
from serving.labels import Classes, Labels

_BATCH = 100


def sample(
    model: keras.Model, options: NetworkOptions, data: DataSpec, n: int, seed: int = 0, labels: Labels = None
) -> NDArray[np.uint8]:
    """Makes `n` images; image i has the seed `seed + i`, as in `serving.Generator.sample`.

    Args:
      model: the generator.
      options: its latent size, and whether it looks at labels.
      data: its classes, and the shape of its images.
      n: number of images.
      seed: seed of the first image, an int64.
      labels: for a conditional generator: one label or class name for all images, or one for each; None takes the
        classes in turn.

    Returns:
      uint8 [n, H, W, C].

    Raises:
      MirageError: for arguments that don't fit.
    """
    try:
        n, seed = whole("n", n, 0, INT64[1]), whole("seed", seed, *INT64)
        whole("seed + n - 1", seed + max(n - 1, 0), *INT64)
        if labels is not None and not options.conditional:
            raise ValueError(f"labels={labels!r:.100}: this generator is unconditional; leave them out.")
        positions = Classes(data.class_names).positions(labels, n) if options.conditional else None
    except ValueError as error:
        raise MirageError(str(error)) from None
    images = np.empty((n, *data.image_shape), np.uint8)
    with full_float32():
        for start in range(0, n, _BATCH):
            stop = min(start + _BATCH, n)
            z = tf.constant(latents(np.int64(seed) + np.arange(start, stop, dtype=np.int64), options.latent_dim))
            inputs = z if positions is None else [z, tf.constant(positions[start:stop], tf.int32)]
            images[start:stop] = to_pixels(model(inputs, training=False).numpy())
    return images
