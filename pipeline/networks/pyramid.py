"""Sizes and widths that the convolutional architectures share: each level halves the image and doubles the width."""

import math

import keras
from keras import layers

IMAGE_SIZES = (16, 128)
_WIDTH = 32
_MAX_WIDTH = 512


def doublings(size: int) -> int:
    """Number of doublings that lead from a base of 4 to 7 pixels to at least `size`."""
    return int(math.log2(size / 4))


def base(size: int) -> int:
    """Side of the smallest picture, of which `doublings` make at least `size` pixels."""
    return math.ceil(size / 2 ** doublings(size))


def width(level: int) -> int:
    """Feature planes at a level, of which 0 is the outermost."""
    return min(_WIDTH * 2**level, _MAX_WIDTH)


def crop(x: keras.KerasTensor, size: int) -> keras.KerasTensor:
    """Cuts what exceeds `size` pixels off all sides, [N, H, W, C] to [N, size, size, C]."""
    excess = x.shape[1] - size
    if not excess:
        return x
    start = excess // 2
    return layers.Cropping2D([(start, excess - start), (start, excess - start)])(x)
