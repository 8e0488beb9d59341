"""Pictures of many latents or styles: in parts, so that memory doesn't grow with what is asked for."""

import math
import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from serving.contract.manifest import BundleError, ModelInfo
from serving.contract.pixels import to_pixels
from serving.session import first_line

# Latents of as many images are computed at once.
BLOCK = 4096

Rows = Callable[[int, int], NDArray[np.float32]]
Images = Callable[[NDArray[np.float32], slice], NDArray[np.float32]]


def room_for(n: int, info: ModelInfo) -> NDArray[np.uint8]:
    """Makes an array for the pixels of `n` images; raises ValueError if memory holds none so large."""
    shape = (n, *info.image_shape)
    if math.prod(shape) <= sys.maxsize:
        try:
            return np.empty(shape, np.uint8)
        except MemoryError:
            pass
    raise ValueError(f"n is {n}, which is more images than memory holds; ask for fewer at a time.")


def draw(
    n: int, info: ModelInfo, chunk: int, rows_of: Rows, images_of: Images, room: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Makes pixels of latents or styles.

    Args:
      n: number of images.
      info: the generator's description.
      chunk: how many images one run makes.
      rows_of: what they are made of, from one place to another; asked for `BLOCK` at a time.
      images_of: runs the network on a chunk of these, for which it gets their places too.
      room: for the pixels; None if one run makes all images.

    Returns:
      uint8 [n, H, W, C].

    Raises:
      ValueError: if the network gives no numbers.
      BundleError: if it can't be run.
    """
    if room is None:  # so that nothing is put together
        images = _checked(info, images_of, rows_of(0, n), slice(0, n))
        return to_pixels(images, info.alpha, images)
    for block in range(0, n, BLOCK):
        rows = rows_of(block, min(block + BLOCK, n))
        for start in range(0, len(rows), chunk):
            part = rows[start : start + chunk]
            place = slice(block + start, block + start + len(part))
            images = _checked(info, images_of, part, place)
            room[place] = to_pixels(images, info.alpha, images)
    return room


def _checked(info: ModelInfo, images_of: Images, rows: NDArray[np.float32], place: slice) -> NDArray[np.float32]:
    try:
        images = images_of(rows, place)
    except BundleError:
        raise
    except Exception as error:  # onnxruntime's exceptions share no better base class
        raise BundleError(f"the generator can't be run ({first_line(error)}); export the bundle again.") from None
    if images.shape != (len(rows), *info.image_shape):
        raise BundleError(f"{len(rows)} latents gave images of the shape {images.shape}; export the bundle again.")
    largest = images.max()
    if largest != largest:  # NaN
        raise ValueError("the network gives no numbers (NaN) for these latents; pass a smaller truncation or z.")
    return images
