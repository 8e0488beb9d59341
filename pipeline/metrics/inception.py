"""The `inception` extractor: InceptionV3's 2,048 pooled features, for data of any kind.

Figures are comparable among runs of Mirage, not with papers: those use a port of the network of 2015 and
another way to resize.
"""

import os

import keras
import numpy as np
import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.devices.numerics import full_float32
from pipeline.metrics.extractor import Features

_SIZE = 299
_BATCH = 32


class Inception:
    """See `pipeline.metrics.extractor.Extractor`.

    Attributes:
      name: "inception".
      facts: empty.
    """

    name = "inception"

    def __init__(self, weights: str = "") -> None:
        """Loads the network.

        Args:
          weights: file with weights of Keras's InceptionV3 without its top; empty fetches them.

        Raises:
          MirageError: if the weights can't be had or don't fit.
        """
        self.facts: dict[str, float] = {}
        if weights and not os.path.isfile(weights):
            raise MirageError(f"--inception_weights={weights} is no file; give Keras's InceptionV3 weights (no top).")
        try:
            self._model = keras.applications.InceptionV3(
                include_top=False, weights=weights or "imagenet", pooling="avg", input_shape=(_SIZE, _SIZE, 3)
            )
        except Exception as error:  # of Keras, h5py, or whatever fetches
            source = (
                f"--inception_weights={weights} can't be used" if weights else "InceptionV3's weights can't be fetched"
            )
            raise MirageError(
                f"{source} ({str(error).splitlines()[0][:150]}); download Keras's weights (no top) elsewhere and pass "
                "--inception_weights=; data with labels do without: --extractor=classifier."
            ) from None
        self._predict = tf.function(self._features, reduce_retracing=True)

    @full_float32()
    def __call__(self, images: np.ndarray) -> Features:
        """Describes uint8 [n, H, W, C]."""
        parts = [self._predict(tf.constant(images[i : i + _BATCH])).numpy() for i in range(0, len(images), _BATCH)]
        return Features(np.concatenate(parts), None)

    def _features(self, images: tf.Tensor) -> tf.Tensor:
        if images.shape[-1] == 1:
            images = tf.image.grayscale_to_rgb(images)
        resized = tf.image.resize(tf.cast(images, tf.float32), [_SIZE, _SIZE], "bilinear", antialias=True)
        return self._model(resized / 127.5 - 1, training=False)
