"""Sharpness: how much an image changes from pixel to pixel."""

import dataclasses
import functools
from collections.abc import Iterable

import numpy as np

from pipeline.metrics.metric import Evidence, Metric, Samples


def sharpness(images: np.ndarray) -> float:
    """Standard deviation of the Laplacian over all pixels, in grey levels; blur lowers it.

    Args:
      images: uint8 [n, H, W, C], H and W at least 3.
    """
    return sharpness_and_error([images])[0]


def sharpness_and_error(blocks: Iterable[np.ndarray]) -> tuple[float, float]:
    """The same of images in blocks, and its standard error, by the delta method."""
    means, squares = [], []
    for images in blocks:
        x = images.astype(np.float32)
        around = x[:, :-2, 1:-1] + x[:, 2:, 1:-1] + x[:, 1:-1, :-2] + x[:, 1:-1, 2:]
        laplacian = around - 4 * x[:, 1:-1, 1:-1]
        means.append(laplacian.mean(axis=(1, 2, 3), dtype=np.float64))
        squares.append(np.square(laplacian, out=laplacian).mean(axis=(1, 2, 3), dtype=np.float64))
    each = np.concatenate(squares)
    value = float(np.sqrt(max(each.mean() - np.concatenate(means).mean() ** 2, 0.0)))
    return value, float(each.std() / (2 * value * np.sqrt(len(each)))) if value else 0.0


@dataclasses.dataclass(frozen=True)
class Sharpness(Metric):
    """`sharpness` of generated images, and of the reference, which is what it should be."""

    figures = ("sharpness", "sharpness_of_reference")
    quick = False
    neutral = figures

    def __call__(self, evidence: Evidence) -> tuple[float, float]:
        """See `Metric`."""
        generated, real = self._found(evidence)
        return generated[0], real[0]

    def errors(self, evidence: Evidence) -> tuple[float, float]:
        """See `Metric`."""
        generated, real = self._found(evidence)
        return generated[1], real[1]

    def _found(self, evidence: Evidence) -> list[tuple[float, float]]:
        return [each.once(self, functools.partial(_of, each)) for each in (evidence.generated, evidence.real)]


def _of(samples: Samples) -> tuple[float, float]:
    return sharpness_and_error(samples.batches())
