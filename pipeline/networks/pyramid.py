"""Sizes and widths that the convolutional architectures share: each level halves the image and doubles the width."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.libraries import keras
from pipeline.base.sizes import Size, read_size, size_of

IMAGE_SIZES = (16, 128)
WIDTH = 32
_MAX_WIDTH = 512


def check_size(values: Mapping[str, Any], sizes: tuple[int, int] = IMAGE_SIZES) -> None:
    """Refuses an `--image_size` outside of the smallest and largest that networks have; raises MirageError."""
    smallest, largest = sizes
    size = size_of(values["image_size"])
    if size is not None and size != (nearest := nearest_size(size, sizes)):
        raise MirageError(
            f"--image_size={values['image_size']} is outside {smallest} to {largest}, which --model={values['model']} "
            f"supports for each side; choose {read_size(nearest)}, or --model=mlp."
        )


def size_of_images(image_shape: tuple[int, int, int], model: str, sizes: tuple[int, int] = IMAGE_SIZES) -> Size:
    """Returns (height, width) of images that convolutional networks can have, of sides within `sizes`.

    Raises:
      MirageError: for others.
    """
    smallest, largest = sizes
    height, width, _ = image_shape
    if (height, width) != (nearest := nearest_size((height, width), sizes)):
        raise MirageError(
            f"--model={model} supports {smallest} to {largest} pixels on each side, and the images have "
            f"{height}x{width}; set --image_size={read_size(nearest)}, or use --model=mlp."
        )
    return height, width


def nearest_size(size: Size, sizes: tuple[int, int] = IMAGE_SIZES) -> Size:
    """The size itself if networks can have it, else the nearest one, of the same aspect if any is."""
    smallest, largest = sizes
    scale = min(largest / max(size), max(smallest / min(size), 1.0))
    height, width = (min(max(round(side * scale), smallest), largest) for side in size)
    return height, width


def check_positive(architecture: Any, *names: str) -> None:
    """Refuses sizes that no layer can have; raises ValueError naming the parameter."""
    for name in names:
        value = getattr(architecture, name)
        if type(value) is not int or value < 1:
            raise ValueError(f"{name}={value!r}; expected a whole number of at least 1")


def doublings(size: Size) -> int:
    """Number of doublings that lead to at least `size` from a base of 4 to 7 pixels on the shorter side."""
    return int(math.log2(min(size) / 4))


def base(size: Size) -> Size:
    """Height and width of the smallest picture, of which `doublings` make at least `size` pixels."""
    height, width = (math.ceil(side / 2 ** doublings(size)) for side in size)
    return height, width


def halved(size: Size) -> Size:
    """Height and width after a stride of 2."""
    return math.ceil(size[0] / 2), math.ceil(size[1] / 2)


def width(level: int, outermost: int = WIDTH) -> int:
    """Feature planes at a level, of which 0 is the outermost."""
    return min(outermost * 2**level, max(_MAX_WIDTH, outermost))


def crop(x: keras.KerasTensor, size: Size) -> keras.KerasTensor:
    """Cuts what exceeds `size` off all sides, [N, H, W, C] to [N, *size, C]."""
    sides = excess(x.shape[1:3], size)
    return keras.layers.Cropping2D(sides)(x) if sides else x


def excess(whole: Size, part: Size) -> list[tuple[int, int]]:
    """How many rows and columns of the whole lie before and behind a part in its middle; empty if they are the same."""
    beyond = [a - b for a, b in zip(whole, part, strict=True)]
    return [(each // 2, each - each // 2) for each in beyond] if any(beyond) else []
