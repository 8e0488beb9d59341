"""How a grid of generated pictures is laid out: which label, or attributes, and which latent each has. Needs NumPy."""

import math
from collections.abc import Sequence

import numpy as np

from serving.contract.attributes import BINARY, Attribute

MOST_ROWS = 20  # with more classes than this, one image of each
_PER_CLASS = 8
_SIDE = 5  # without classes there are 5 x 5 images


def grid_labels(num_classes: int) -> tuple[np.ndarray, int]:
    """Lays out a grid.

    Args:
      num_classes: 0 for an unconditional generator.

    Returns:
      (labels int32 [n] row by row, number of columns): a row per class, or one image of each class if
      there are many, or 5 x 5 without classes.
    """
    if not num_classes:
        return np.zeros(_SIDE * _SIDE, np.int32), _SIDE
    if num_classes <= MOST_ROWS:
        return np.repeat(np.arange(num_classes, dtype=np.int32), _PER_CLASS), _PER_CLASS
    return np.arange(num_classes, dtype=np.int32), math.ceil(math.sqrt(num_classes))


def attribute_rows(attributes: Sequence[Attribute]) -> tuple[np.ndarray, np.ndarray, int]:
    """Lays out a grid that shows what attributes do: a row for each, of the first of them, the others being typical.

    Args:
      attributes: at least one.

    Returns:
      (labels float32 [n, A] row by row, number of each image's latent int64 [n], number of columns). Along a row, a
      number goes from its least to its greatest value for one latent; of what is 0 or 1 there are first pictures
      without, then those of the same latents with it.
    """
    few = attributes[:MOST_ROWS]
    labels = np.tile(np.array([each.typical for each in attributes], np.float32), (len(few), _PER_CLASS, 1))
    latents = np.zeros((len(few), _PER_CLASS), np.int64)
    for place, each in enumerate(few):
        if each.kind == BINARY:
            labels[place, :, place] = np.repeat([0, 1], _PER_CLASS // 2)
            latents[place] = np.arange(_PER_CLASS) % (_PER_CLASS // 2)
        else:
            labels[place, :, place] = np.linspace(each.low, each.high, _PER_CLASS)
    return labels.reshape(-1, len(attributes)), latents.ravel(), _PER_CLASS
