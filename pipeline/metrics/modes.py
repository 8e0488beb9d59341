"""Modes of stacked data: which of the known combinations a generator covers (Metz et al. 2016, arXiv 1611.02163)."""

import numpy as np

from pipeline.metrics.classes import kl_to_uniform
from pipeline.metrics.extractor import Extractor, Features


class Stacked:
    """Describes each channel by itself, see `pipeline.metrics.extractor.Extractor`.

    Attributes:
      name: "stacked" and the name of what describes a channel.
      facts: of what describes a channel.
    """

    def __init__(self, channel: Extractor) -> None:
        """Takes what describes a grey image, with probabilities."""
        self.name = f"stacked {channel.name}"
        self.facts = channel.facts
        self._channel = channel

    def __call__(self, images: np.ndarray) -> Features:
        """Describes uint8 [n, H, W, C]: features of all channels side by side, no probabilities."""
        return Features(np.concatenate([each.features for each in self._describe(images)], axis=1), None)

    def modes(self, images: np.ndarray) -> tuple[int, float]:
        """Counts combinations of classes.

        Args:
          images: uint8 [n, H, W, C].

        Returns:
          (number of combinations that occur, KL divergence in nats of their frequencies from uniform).
        """
        number, combinations = np.zeros(len(images), np.int64), 1
        for described in self._describe(images):
            assert described.probabilities is not None
            classes = described.probabilities.shape[1]
            number = number * classes + described.probabilities.argmax(axis=1)
            combinations *= classes
        counts = np.bincount(number, minlength=combinations)
        return int((counts > 0).sum()), kl_to_uniform(counts)

    def _describe(self, images: np.ndarray) -> list[Features]:
        return [self._channel(images[..., channel : channel + 1]) for channel in range(images.shape[-1])]
