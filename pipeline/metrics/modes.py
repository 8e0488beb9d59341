"""Modes of stacked data: which of the known combinations a generator covers (Metz et al. 2016, arXiv 1611.02163)."""

import dataclasses
from typing import ClassVar

import numpy as np

from pipeline.metrics.classes import kl_to_uniform
from pipeline.metrics.extractor import Extractor, Features
from pipeline.metrics.metric import Evidence, Metric


def coverage(modes: np.ndarray, num_modes: int) -> tuple[int, float]:
    """Counts modes.

    Args:
      modes: which mode each image shows, int64 [n].
      num_modes: how many there are.

    Returns:
      (number of modes that occur, KL divergence in nats of their frequencies from uniform).
    """
    counts = np.bincount(modes, minlength=num_modes)
    return int((counts > 0).sum()), kl_to_uniform(counts)


class Stacked:
    """Describes each channel by itself, see `pipeline.metrics.extractor.Extractor`.

    Attributes:
      name: "stacked" and the name of what describes a channel; so is its title.
      facts: of what describes a channel.
    """

    def __init__(self, channel: Extractor) -> None:
        """Takes what describes a grey image, with probabilities."""
        self.name = self.title = f"stacked {channel.name}"
        self.facts = channel.facts
        self._channel = channel

    def __call__(self, images: np.ndarray) -> Features:
        """Describes uint8 [n, H, W, C]: features of all channels side by side, and combinations of classes as modes."""
        features, number, combinations = [], np.zeros(len(images), np.int64), 1
        for channel in range(images.shape[-1]):
            described = self._channel(images[..., channel : channel + 1])
            assert described.probabilities is not None
            features.append(described.features)
            classes = described.probabilities.shape[1]
            number = number * classes + described.probabilities.argmax(axis=1)
            combinations *= classes
        return Features(np.concatenate(features, axis=1), None, number, combinations)


@dataclasses.dataclass(frozen=True)
class Modes(Metric):
    """`modes`: how many of the modes occur, and `kl_to_uniform`: how unevenly."""

    figures = ("modes", "kl_to_uniform")
    needs = ("modes",)
    higher_is_better = ("modes",)
    limits: ClassVar = dict.fromkeys(figures, (0.0, np.inf))

    def __call__(self, evidence: Evidence) -> tuple[int, float]:
        """See `Metric`."""
        described = evidence.generated.described
        assert described.modes is not None
        return coverage(described.modes, described.num_modes)
