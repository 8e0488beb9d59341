"""Sizes and widths that the convolutional architectures share: each level halves the image and doubles the width."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.libraries import keras

IMAGE_SIZES = (16, 128)
WIDTH = 32
_MAX_WIDTH = 512


def check_size(values: Mapping[str, Any]) -> None:
    """Refuses an `--image_size` that convolutional networks can't have; raises MirageError."""
    smallest, largest = IMAGE_SIZES
    size = values["image_size"]
    if size and not smallest <= size <= largest:
        raise MirageError(
            f"--image_size={size} is outside {smallest} to {largest}, which --model={values['model']} supports; choose "
            "a size within, or --model=mlp."
        )


def side_of(image_shape: tuple[int, int, int], model: str) -> int:
    """Returns the side of images that convolutional networks can have.

    Raises:
      MirageError: for others.
    """
    smallest, largest = IMAGE_SIZES
    size = square_side(image_shape, model)
    if not smallest <= size <= largest:
        raise MirageError(
            f"--model={model} supports {smallest} to {largest} pixels, and the images have {size}; set --image_size "
            "within that range, or use --model=mlp."
        )
    return size


def square_side(image_shape: tuple[int, int, int], model: str) -> int:
    """Returns the side of square images; raises MirageError for others."""
    height, width, _ = image_shape
    if height != width:
        raise MirageError(
            f"the images have {height}x{width} pixels, and --model={model} needs square ones; set --image_size."
        )
    return height


def check_positive(architecture: Any, *names: str) -> None:
    """Refuses sizes that no layer can have; raises ValueError naming the parameter."""
    for name in names:
        value = getattr(architecture, name)
        if type(value) is not int or value < 1:
            raise ValueError(f"{name}={value!r}; expected a whole number of at least 1")


def doublings(size: int) -> int:
    """Number of doublings that lead from a base of 4 to 7 pixels to at least `size`."""
    return int(math.log2(size / 4))


def base(size: int) -> int:
    """Side of the smallest picture, of which `doublings` make at least `size` pixels."""
    return math.ceil(size / 2 ** doublings(size))


def width(level: int, outermost: int = WIDTH) -> int:
    """Feature planes at a level, of which 0 is the outermost."""
    return min(outermost * 2**level, max(_MAX_WIDTH, outermost))


def crop(x: keras.KerasTensor, size: int) -> keras.KerasTensor:
    """Cuts what exceeds `size` pixels off all sides, [N, H, W, C] to [N, size, size, C]."""
    excess = x.shape[1] - size
    if not excess:
        return x
    start = excess // 2
    return keras.layers.Cropping2D([(start, excess - start), (start, excess - start)])(x)
