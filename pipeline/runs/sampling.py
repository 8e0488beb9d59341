"""Pictures of image seeds, as bundles make them, from a generator that is a Keras model."""

from typing import Any

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
from serving.attributes import Attributes, AttributeValues
from serving.contract.latents import latents
from serving.labels import Classes, Labels

_BATCH = 100


def sample(
    model: keras.Model,
    options: NetworkOptions,
    data: DataSpec,
    n: int,
    seed: int = 0,
    labels: Labels = None,
    *,
    attributes: AttributeValues = None,
) -> NDArray[np.uint8]:
    """Makes `n` images; image i has the seed `seed + i`, as in `serving.Generator.sample`.

    Args:
      model: the generator.
      options: its latent size, and whether it looks at labels.
      data: its classes or attributes, and the shape of its images.
      n: number of images.
      seed: seed of the first image, an int64.
      labels: for a conditional generator: one label or class name for all images, or one for each; None takes the
        classes in turn.
      attributes: for a generator of attributes, their values, see `serving.attributes.Attributes`; None for typical
        ones.

    Returns:
      uint8 [n, H, W, C].

    Raises:
      MirageError: for arguments that don't fit.
    """
    try:
        n, seed = whole("n", n, 0, INT64[1]), whole("seed", seed, *INT64)
        whole("seed + n - 1", seed + max(n - 1, 0), *INT64)
        given = _given(options, data, n, labels, attributes)
    except ValueError as error:
        raise MirageError(str(error)) from None
    images = np.empty((n, *data.image_shape), np.uint8)
    with full_float32():
        for start in range(0, n, _BATCH):
            stop = min(start + _BATCH, n)
            z = tf.constant(latents(np.int64(seed) + np.arange(start, stop, dtype=np.int64), options.latent_dim))
            inputs = z if given is None else [z, tf.constant(given[start:stop])]
            images[start:stop] = to_pixels(model(inputs, training=False).numpy())
    return images


def _given(
    options: NetworkOptions, data: DataSpec, n: int, labels: Labels, attributes: AttributeValues
) -> NDArray[Any] | None:
    """What networks are given beside latents: int32 [n], float32 [n, A] or nothing; raises ValueError."""
    has_attributes = options.conditional and data.attributes
    if attributes is not None and not has_attributes:
        raise ValueError(f"attributes={attributes!r:.100}: this generator has none; leave them out.")
    if labels is not None and has_attributes:
        names = ", ".join(each.name for each in data.attributes)
        raise ValueError(f"labels={labels!r:.100}: this generator takes attributes ({names}); pass attributes=.")
    if labels is not None and not options.conditional:
        raise ValueError(f"labels={labels!r:.100}: this generator is unconditional; leave them out.")
    if has_attributes:
        return Attributes(data.attributes).values(attributes, n)
    return Classes(data.class_names).positions(labels, n).astype(np.int32) if options.conditional else None
