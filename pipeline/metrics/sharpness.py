"""Sharpness: how much an image changes from pixel to pixel."""

import dataclasses

import numpy as np

from pipeline.metrics.metric import Evidence, Metric


def sharpness(images: np.ndarray) -> float:
    """Standard deviation of the Laplacian over all pixels, in grey levels; blur lowers it.

    Args:
      images: uint8 [n, H, W, C], H and W at least 3.
    """
    x = images.astype(np.float32)
    around = x[:, :-2, 1:-1] + x[:, 2:, 1:-1] + x[:, 1:-1, :-2] + x[:, 1:-1, 2:]
    return float((around - 4 * x[:, 1:-1, 1:-1]).std(dtype=np.float64))


@dataclasses.dataclass(frozen=True)
class Sharpness(Metric):
    """`sharpness` of generated images, and of the reference."""

    figures = ("sharpness", "sharpness_of_reference")
    quick = False

    def __call__(self, evidence: Evidence) -> tuple[float, float]:
        """See `Metric`."""
        return sharpness(evidence.generated.pixels), sharpness(evidence.real.pixels)
