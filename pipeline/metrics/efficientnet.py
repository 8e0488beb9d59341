"""The `efficientnet` extractor: 1,280 pooled features of EfficientNet-Lite0, trained on ImageNet.

A strong judge of colour images that needs no download, see `pipeline.pretrained`.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from pipeline.base.ahead import ahead
from pipeline.devices.numerics import full_float32
from pipeline.metrics import TITLES
from pipeline.metrics.extractor import Features
from pipeline.metrics.resizing import coloured, in_blocks, matrix, resized
from pipeline.pretrained.lite0 import MEAN, SCALE, Lite0
from pipeline.pretrained.lite0_file import HASH, weights_file
from pipeline.pretrained.lite0_onnx import as_onnx
from pipeline.pretrained.torch_file import read_tensors
from serving.runtime import ort

# What the network was trained at. A third of the time would do at 128, but then it tells small images less well apart:
# JPEG of quality 5 is 5.5 times as far away as the floor at 224 pixels, and 2.8 times at 128 (CIFAR-10).
_SIZE = 224
_BATCH = 32
_SHARE = 2  # of them, for each thread: their largest maps stay in a core's cache
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
        network = Lite0(read_tensors(weights_file("--extractor=efficientnet", otherwise)))
        self.facts: dict[str, float | str] = {
            "resize": f"bicubic, antialiased, to {_SIZE} pixels",
            "weights": HASH,
        }
        self._describe = _on_gpu(network) if tf.config.get_visible_devices("GPU") else _OnCpu(network)

    @full_float32()
    def __call__(self, images: np.ndarray) -> Features:
        """Describes uint8 [n, H, W, C], grey or RGB."""
        return Features(in_blocks(self._describe, images, _BATCH), None)


def _on_gpu(network: Lite0) -> Callable[[tf.Tensor], tf.Tensor]:
    def describe(images: tf.Tensor) -> tf.Tensor:
        return network.features((resized(images, _SIZE, _WAY) - MEAN) / SCALE)

    return tf.function(describe, reduce_retracing=False)


class _OnCpu:
    """The network in onnxruntime, with other images on each core: a little faster than the same ones on all."""

    def __init__(self, network: Lite0) -> None:
        self._network = network
        self._sessions: dict[tuple[int, int], ort.InferenceSession] = {}

    def __call__(self, images: tf.Tensor) -> np.ndarray:
        """Describes uint8 [_BATCH, H, W, C] by float32 [_BATCH, 1280]."""
        shares = coloured(images).numpy().reshape(-1, _SHARE, *images.shape[1:3], 3)
        session = self._session(*images.shape[1:3])
        found = ahead(lambda part: session.run(None, {"images": shares[part]})[0], 0, len(shares), chunk=1)
        return np.concatenate(list(found))

    def _session(self, height: int, width: int) -> ort.InferenceSession:
        """What describes images of a size; resizing is part of the model."""
        if (height, width) not in self._sessions:
            options = ort.SessionOptions()
            options.intra_op_num_threads = 1
            model = as_onnx(self._network, *(matrix(side, _SIZE, _WAY) for side in (height, width)))
            session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            self._sessions[height, width] = session
        return self._sessions[height, width]
