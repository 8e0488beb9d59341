"""The `efficientnet` extractor: 1,280 pooled features of EfficientNet-Lite0, trained on ImageNet.

A strong judge of colour images that needs no download, see `pipeline.pretrained`.
"""

import numpy as np
import tensorflow as tf

from pipeline.devices.numerics import full_float32
from pipeline.metrics import TITLES
from pipeline.metrics.extractor import Features
from pipeline.metrics.resizing import in_blocks, resized
from pipeline.pretrained.lite0 import MEAN, SCALE, Lite0
from pipeline.pretrained.lite0_file import HASH, weights_file
from pipeline.pretrained.torch_file import read_tensors

# What the network was trained at. A third of the time would do at 128, but then it tells small images less well apart:
# JPEG of quality 5 is 5.5 times as far away as the floor at 224 pixels, and 2.8 times at 128 (CIFAR-10).
_SIZE = 224
_BATCH = 32
_WAY = "pillow"


class EfficientNet:
    """See `pipeline.metrics.extractor.Extractor`.

    Attributes:
      name: "efficientnet".
      title: "EfficientNet-Lite0".
      facts: `resize`, and `weights`, the first digits of their SHA-256.
    """

    name = "efficientnet"
    title = TITLES["efficientnet"]

    def __init__(self) -> None:
        """Loads the network.

        Raises:
          MirageError: if its weights are not installed, or damaged.
        """
        otherwise = "pass --extractor=classifier if the data has labels"
        self._network = Lite0(read_tensors(weights_file("--extractor=efficientnet", otherwise)))
        self.facts: dict[str, float | str] = {
            "resize": f"bicubic, antialiased, to {_SIZE} pixels",
            "weights": HASH,
        }
        self._describe = tf.function(self._features, reduce_retracing=False)

    @full_float32()
    def __call__(self, images: np.ndarray) -> Features:
        """Describes uint8 [n, H, W, C], grey or RGB."""
        return Features(in_blocks(self._describe, images, _BATCH), None)

    def _features(self, images: tf.Tensor) -> tf.Tensor:
        return self._network.features((resized(images, _SIZE, _WAY) - MEAN) / SCALE)
