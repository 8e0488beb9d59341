"""The `inception` extractors: 2,048 pooled features of the network of 2015, for distances that papers can be held to.

What differs is how images are resized to 299 pixels, which decides as much as the network (Parmar et al. 2022, arXiv
2104.11222): `inception` does it as TensorFlow 1 did and with it the papers; `inception_pytorch` as pytorch-fid;
`inception_clean` as clean-fid, which is the sound way.
"""

import hashlib
from typing import ClassVar

import numpy as np
import tensorflow as tf

from pipeline.devices.numerics import full_float32
from pipeline.metrics import TITLES
from pipeline.metrics.extractor import Features
from pipeline.metrics.inception_network import SIZE, network
from pipeline.metrics.inception_weights import find_weights, read_weights
from pipeline.metrics.resizing import in_blocks, resized

_BATCH = 8


class Inception:
    """See `pipeline.metrics.extractor.Extractor`.

    Attributes:
      name: "inception".
      title: "Inception"; its Fréchet distance is called FID.
      facts: `resize`, and `weights`, the first digits of their file's SHA-256.
    """

    name = "inception"
    title = TITLES["inception"]
    _way: ClassVar = "tensorflow"
    _resize: ClassVar = "bilinear, as TensorFlow 1"
    _middle: ClassVar = 128.0  # the level that becomes 0

    def __init__(self, weights: str = "", data_dir: str = "", download: bool = False) -> None:
        """Loads the network.

        Args:
          weights: file of weights, see `pipeline.metrics.inception_weights`; empty takes what was fetched before.
          data_dir: below which they are kept.
          download: whether they may be fetched.

        Raises:
          MirageError: if the weights can't be had or don't fit.
        """
        path = find_weights(weights, data_dir, download)
        self._network = network(read_weights(path))
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.facts: dict[str, float | str] = {"resize": f"{self._resize}, to {SIZE} pixels", "weights": digest[:8]}
        self._describe = tf.function(self._features)

    @full_float32()
    def __call__(self, images: np.ndarray) -> Features:
        """Describes uint8 [n, H, W, C], grey or RGB."""
        return Features(in_blocks(self._describe, images, _BATCH), None)

    def _features(self, images: tf.Tensor) -> tf.Tensor:
        return self._network((resized(images, SIZE, self._way) - self._middle) / self._middle)


class InceptionPyTorch(Inception):
    """With pytorch-fid's resizing and range of levels; named "inception_pytorch"."""

    name = "inception_pytorch"
    title = TITLES["inception_pytorch"]
    _way = "pytorch"
    _resize = "bilinear, as PyTorch"
    _middle = 127.5


class InceptionClean(Inception):
    """With clean-fid's resizing; named "inception_clean"."""

    name = "inception_clean"
    title = TITLES["inception_clean"]
    _way = "pillow"
    _resize = "bicubic, antialiased"
