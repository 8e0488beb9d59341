"""Reconstruction error of autoencoders."""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from pipeline.base.values import values_of
from pipeline.metrics.metric import Evidence, Images, Metric

_BATCH = 100


def reconstruction_error(images: np.ndarray, reconstructions: np.ndarray) -> float:
    """Root mean square error in grey levels over all pixels; 0 is perfect.

    Args:
      images: uint8 [n, H, W, C].
      reconstructions: uint8, of the same shape.
    """
    return float(np.sqrt(np.square(images.astype(np.float64) - reconstructions).mean()))


@dataclasses.dataclass(frozen=True)
class ReconstructionError(Metric):
    """`reconstruction_error` on as many images of the reference as are generated; of a VAE, with its means as codes."""

    figures = ("reconstruction_error",)
    needs = ("generator", "encoder")
    quick = False

    def __call__(self, evidence: Evidence) -> float:
        """See `Metric`."""
        return float(np.sqrt(self._squares(evidence).mean()))

    def errors(self, evidence: Evidence) -> float:
        """See `Metric`."""
        squares = self._squares(evidence)
        mean = squares.mean()
        return float(squares.std() / (2 * np.sqrt(mean * len(squares)))) if mean else 0.0

    def _squares(self, evidence: Evidence) -> np.ndarray:
        """Mean square error of each image."""

        def find() -> np.ndarray:
            assert evidence.generate is not None
            chosen = evidence.real.images.some(len(evidence.generated))
            decoded = reconstructed(chosen, evidence.networks["encoder"], evidence.generate, evidence.latent_dim)
            pairs = zip(chosen.pixels, decoded, strict=True)
            return np.asarray([reconstruction_error(one, other) ** 2 for one, other in pairs])

        return evidence.once(self, find)


def reconstructed(
    images: Images,
    encode: Callable[[np.ndarray, np.ndarray], np.ndarray],
    generate: Callable[[np.ndarray, np.ndarray], np.ndarray],
    latent_dim: int,
) -> np.ndarray:
    """Encodes and decodes images.

    Args:
      images: the images.
      encode: the encoder, see `pipeline.metrics.metric.Evidence`; of what it outputs, codes come first.
      generate: the generator, of the same form as there.
      latent_dim: components of a code.

    Returns:
      uint8 [n, H, W, C].
    """
    parts = []
    for start in range(0, len(images.pixels), _BATCH):
        labels = images.labels[start : start + _BATCH]
        pixels = values_of(tf.constant(np.asarray(images.pixels[start : start + _BATCH]))).numpy()
        parts.append(generate(encode(pixels, labels)[:, :latent_dim], labels))
    return np.concatenate(parts)
