"""What pictures are of where nobody says it: the same in all checks, on all machines."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.runs.layout import attribute_rows, grid_labels
from serving.contract.attributes import BINARY
from serving.contract.latents import latents
from serving.contract.manifest import UNIFORM, ModelInfo
from serving.generator import Generator

_SEED = -(2**62)  # of attributes, which shall not follow the latents of small seeds
_BEYOND = 1.1  # so that a tenth of the numbers lies at either end


def conditions(places: NDArray[np.integer], info: ModelInfo) -> NDArray:
    """Labels or attributes of pictures, by their places in a series.

    Args:
      places: integers [n], 0 or more.
      info: the generator's description.

    Returns:
      Of classes int64 [n], in turn; zeros if the generator takes nothing. Of attributes float32 [n, number of them]:
      typical ones at place 0, and elsewhere each anything from its least to its greatest value, ends included.
    """
    if not info.attributes:
        return np.asarray(places, np.int64) % max(1, len(info.class_names))
    drawn = latents(_SEED + np.asarray(places, np.int64), len(info.attributes), UNIFORM).astype(np.float64)
    columns = []
    for attribute, column in zip(info.attributes, drawn.T, strict=True):
        low, high = attribute.low, attribute.high
        share = column > 0 if attribute.kind == BINARY else np.clip(0.5 + 0.5 * _BEYOND * column, 0, 1)
        columns.append(np.where(places == 0, attribute.typical, low + (high - low) * share))
    return np.stack(columns, axis=1).astype(np.float32)


def told(labels: NDArray, info: ModelInfo) -> NDArray:
    """Labels or attributes of data as a generator takes them; those of test images may lie beyond its ends."""
    if not info.attributes:
        return labels.astype(np.int64)
    low, high = (np.array([getattr(each, end) for each in info.attributes], np.float32) for end in ("low", "high"))
    return np.clip(labels.astype(np.float32), low, high)


def sheet(info: ModelInfo) -> tuple[NDArray[np.int64], NDArray, int]:
    """What a sheet of samples shows: a row for each class, or for each attribute.

    A row of an attribute goes from its least to its greatest value while the others are typical: of a number in steps
    with one seed, of a binary one with four seeds at either.

    Returns:
      (seeds int64 [n]; what `conditions` returns; pictures in a row).
    """
    if info.attributes:
        rows, latent, columns = attribute_rows(info.attributes)
        return latent + np.arange(len(rows)) // columns, rows, columns
    classes = len(info.class_names)
    labels, columns = grid_labels(classes)
    return np.arange(len(labels)) % (columns if classes else len(labels)), labels.astype(np.int64), columns


def decoded(generator: Generator, z: NDArray[np.float32], condition: NDArray) -> NDArray[np.uint8]:
    """Pictures of latents and of what `conditions` returns."""
    return generator.decode(z, **as_told(generator, condition))


def as_told(generator: Generator, condition: NDArray) -> dict[str, Any]:
    """What `conditions` returns, as arguments of a generator's methods."""
    if generator.class_names:
        return {"labels": [generator.class_names[label] for label in condition]}
    return {"attributes": condition} if generator.attributes else {}
