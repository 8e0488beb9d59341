"""The Inception network of 2015, by which the Fréchet inception distance is defined (Szegedy et al., arXiv 1512.00567).

It differs from what frameworks offer as InceptionV3: averages leave out the padding, the last block takes a maximum
where its siblings take an average, and its weights are others.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

SIZE = 299
FEATURES = 2048
_EPSILON = 1e-3


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution with batch normalisation and ReLU behind it.

    Attributes:
      torch: its name in files of PyTorch, within its block.
      tensorflow: that in the original graph.
      height: of its kernel.
      width: of its kernel.
      out: channels that it makes.
      stride: 2 for those that halve the image, which pad nothing.
      padded: whether an image keeps its size.
    """

    torch: str
    tensorflow: str
    height: int
    width: int
    out: int
    stride: int = 1
    padded: bool = True


# A branch is a row of layers and of these; a tuple within it holds branches whose outputs stand side by side.
_AVERAGE, _MAXIMUM, _HALVE = "average", "maximum", "halve"
_STEM = (
    Layer("Conv2d_1a_3x3", "conv", 3, 3, 32, 2, padded=False),
    Layer("Conv2d_2a_3x3", "conv_1", 3, 3, 32, padded=False),
    Layer("Conv2d_2b_3x3", "conv_2", 3, 3, 64),
    _HALVE,
    Layer("Conv2d_3b_1x1", "conv_3", 1, 1, 80, padded=False),
    Layer("Conv2d_4a_3x3", "conv_4", 3, 3, 192, padded=False),
    _HALVE,
)


def _row(torch: str, tensorflow: str, *kernels: tuple[int, int, int], halving: bool = False) -> tuple[Layer, ...]:
    """Layers of one branch, numbered as both have it; with `halving`, the last one halves the image."""
    layers = []
    for index, (height, width, out) in enumerate(kernels):
        last = halving and index == len(kernels) - 1
        names = f"{torch}_{index + 1}", f"{tensorflow}/conv{f'_{index}' * bool(index)}"
        layers.append(Layer(*names, height, width, out, 2 if last else 1, padded=not last))
    return tuple(layers)


def _block_a(pooled: int) -> tuple:
    return (
        (Layer("branch1x1", "conv", 1, 1, 64),),
        _row("branch5x5", "tower", (1, 1, 48), (5, 5, 64)),
        _row("branch3x3dbl", "tower_1", (1, 1, 64), (3, 3, 96), (3, 3, 96)),
        (_AVERAGE, Layer("branch_pool", "tower_2/conv", 1, 1, pooled)),
    )


def _block_c(inner: int) -> tuple:
    wide, high = (1, 7, inner), (7, 1, inner)
    return (
        (Layer("branch1x1", "conv", 1, 1, 192),),
        _row("branch7x7", "tower", (1, 1, inner), wide, (7, 1, 192)),
        _row("branch7x7dbl", "tower_1", (1, 1, inner), high, wide, high, (1, 7, 192)),
        (_AVERAGE, Layer("branch_pool", "tower_2/conv", 1, 1, 192)),
    )


def _block_e(pool: str) -> tuple:
    def split(torch: str, tensorflow: str) -> tuple:
        return (
            (Layer(f"{torch}a", f"{tensorflow}/mixed/conv", 1, 3, 384),),
            (Layer(f"{torch}b", f"{tensorflow}/mixed/conv_1", 3, 1, 384),),
        )

    return (
        (Layer("branch1x1", "conv", 1, 1, 320),),
        (Layer("branch3x3_1", "tower/conv", 1, 1, 384), split("branch3x3_2", "tower")),
        (*_row("branch3x3dbl", "tower_1", (1, 1, 448), (3, 3, 384)), split("branch3x3dbl_3", "tower_1")),
        (pool, Layer("branch_pool", "tower_2/conv", 1, 1, 192)),
    )


_BLOCKS: dict[tuple[str, str], tuple] = {
    ("Mixed_5b", "mixed"): _block_a(32),
    ("Mixed_5c", "mixed_1"): _block_a(64),
    ("Mixed_5d", "mixed_2"): _block_a(64),
    ("Mixed_6a", "mixed_3"): (
        (Layer("branch3x3", "conv", 3, 3, 384, 2, padded=False),),
        _row("branch3x3dbl", "tower", (1, 1, 64), (3, 3, 96), (3, 3, 96), halving=True),
        (_HALVE,),
    ),
    ("Mixed_6b", "mixed_4"): _block_c(128),
    ("Mixed_6c", "mixed_5"): _block_c(160),
    ("Mixed_6d", "mixed_6"): _block_c(160),
    ("Mixed_6e", "mixed_7"): _block_c(192),
    ("Mixed_7a", "mixed_8"): (
        _row("branch3x3", "tower", (1, 1, 192), (3, 3, 320), halving=True),
        _row("branch7x7x3", "tower_1", (1, 1, 192), (1, 7, 192), (7, 1, 192), (3, 3, 192), halving=True),
        (_HALVE,),
    ),
    ("Mixed_7b", "mixed_9"): _block_e(_AVERAGE),
    ("Mixed_7c", "mixed_10"): _block_e(_MAXIMUM),
}
# Visits a layer: its names and it, the number of its inputs' channels, and what stands for the image.
_Visit = Callable[[tuple[str, str], Layer, Any], Any]


def _walk(x: Any, visit: _Visit, pool: Callable[[Any, str], Any], join: Callable[[list], Any]) -> Any:
    """Goes through the network with whatever stands for an image."""

    def along(x: Any, branch: tuple, block: tuple[str, str]) -> Any:
        for part in branch:
            if isinstance(part, str):
                x = pool(x, part)
            elif isinstance(part, tuple):
                x = join([along(x, inner, block) for inner in part])
            else:
                names = f"{block[0]}.{part.torch}".lstrip("."), f"{block[1]}/{part.tensorflow}".lstrip("/")
                x = visit(names, part, x)
        return x

    x = along(x, _STEM, ("", ""))
    for block, branches in _BLOCKS.items():
        x = along(x, (branches,), block)
    return x


def layers() -> Iterator[tuple[str, str, tuple[int, int, int, int]]]:
    """Gives each layer's name in PyTorch's files and in the graph, and its kernel's shape: [height, width, in, out]."""
    found: list[tuple[str, str, tuple[int, int, int, int]]] = []

    def visit(names: tuple[str, str], layer: Layer, channels: int) -> int:
        found.append((*names, (layer.height, layer.width, channels, layer.out)))
        return layer.out

    assert _walk(3, visit, lambda channels, _: channels, sum) == FEATURES
    return iter(found)


@dataclasses.dataclass(frozen=True)
class Weights:
    """Of one layer: kernel [height, width, in, out] and, [out], what its batch normalisation has."""

    kernel: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    mean: np.ndarray
    variance: np.ndarray

    def folded(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Kernel and bias of a convolution that does the same as both."""
        scale = self.gamma / np.sqrt(self.variance.astype(np.float64) + _EPSILON)
        return tf.constant(self.kernel * scale, tf.float32), tf.constant(self.beta - self.mean * scale, tf.float32)


def network(weights: Mapping[str, Weights]) -> Callable[[tf.Tensor], tf.Tensor]:
    """Builds the network up to its last pooling.

    Args:
      weights: of each of `layers`, by PyTorch's names.

    Returns:
      A function of images, float32 [n, 299, 299, 3] in about -1 to 1, to features, float32 [n, 2048].
    """
    folded = {name: each.folded() for name, each in weights.items()}

    def visit(names: tuple[str, str], layer: Layer, x: tf.Tensor) -> tf.Tensor:
        kernel, bias = folded[names[0]]
        x = tf.nn.conv2d(x, kernel, layer.stride, "SAME" if layer.padded else "VALID")
        return tf.nn.relu(tf.nn.bias_add(x, bias))

    def pool(x: tf.Tensor, kind: str) -> tf.Tensor:
        if kind == _AVERAGE:
            return tf.nn.avg_pool2d(x, 3, 1, "SAME")  # which leaves out the padding, unlike PyTorch's
        return tf.nn.max_pool2d(x, 3, *((2, "VALID") if kind == _HALVE else (1, "SAME")))

    def features(images: tf.Tensor) -> tf.Tensor:
        x = _walk(images, visit, pool, lambda parts: tf.concat(parts, axis=-1))
        return tf.reduce_mean(x, axis=[1, 2])

    return features
