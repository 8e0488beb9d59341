"""Classification error of discriminators that name classes."""

import dataclasses
from typing import ClassVar

import numpy as np
import tensorflow as tf

from pipeline.base.values import values_of
from pipeline.metrics.metric import Evidence, Metric
from pipeline.metrics.shares import error_of_share

_BATCH = 100


@dataclasses.dataclass(frozen=True)
class ClassificationError(Metric):
    """`classification_error`: share of the reference's images whose class the discriminator names wrongly."""

    figures = ("classification_error",)
    needs = ("classes",)
    quick = False
    limits: ClassVar = {"classification_error": (0.0, 1.0)}

    def __call__(self, evidence: Evidence) -> float:
        """See `Metric`."""
        return float(self._wrong(evidence).mean())

    def errors(self, evidence: Evidence) -> float:
        """See `Metric`."""
        return error_of_share(self._wrong(evidence))

    def _wrong(self, evidence: Evidence) -> np.ndarray:
        return evidence.once(self, lambda: _named_wrongly(evidence))


def _named_wrongly(evidence: Evidence) -> np.ndarray:
    wrong, start = [], 0
    for images in evidence.real.batches(_BATCH):
        pixels = values_of(tf.constant(images)).numpy()
        labels = evidence.real.labels[start : start + len(images)]
        start += len(images)
        named = evidence.networks["discriminator"](pixels, labels)["classes"].argmax(axis=1)
        wrong.append(named != labels)
    return np.concatenate(wrong)
