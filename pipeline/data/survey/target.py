"""What pictures are brought to before they are trained on: the one place here that knows how."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.options import DataOptions
from pipeline.data.pixels import fit, in_mode


def target_of(options: DataOptions) -> tuple[int, int] | None:
    """(width, height) to which all are brought, before parts are cut out; None where all must have it already."""
    size = options.prepared_size
    return None if size is None else (size[1], size[0])


def prepared_picture(image: Image.Image, target: tuple[int, int] | None, mode: str, how: str) -> Image.Image:
    """A picture, upright and grey or RGB, as networks get it: of a size and mode, fitted as `--fit` says."""
    return in_mode(image if target is None else fit(image, (target[1], target[0]), how), mode)


def enlarged(widths: NDArray[np.int32], heights: NDArray[np.int32], target: tuple[int, int]) -> NDArray[np.float64]:
    """By how much each picture is enlarged, 1 where it keeps its size."""
    return np.maximum(target[0] / widths, target[1] / heights)


def lost(
    widths: NDArray[np.int32], heights: NDArray[np.int32], target: tuple[int, int] | None, how: str
) -> NDArray[np.float64]:
    """What share of each picture is cropped away; without a target, to get the shape that most have."""
    if how != "crop":
        return np.zeros(len(widths))
    shapes = np.log(widths / heights)
    wanted = np.median(shapes) if target is None else np.log(target[0] / target[1])
    return 1 - np.exp(-np.abs(shapes - wanted))
