"""Classification error of discriminators that name classes."""

import dataclasses

import numpy as np

from pipeline.metrics.metric import Evidence, Metric

_BATCH = 100


@dataclasses.dataclass(frozen=True)
class ClassificationError(Metric):
    """`classification_error`: share of the reference's images whose class the discriminator names wrongly."""

    figures = ("classification_error",)
    needs = ("classes",)
    quick = False

    def __call__(self, evidence: Evidence) -> float:
        """See `Metric`."""
        wrong = []
        for start in range(0, len(evidence.real.pixels), _BATCH):
            part = slice(start, start + _BATCH)
            pixels = evidence.real.pixels[part].astype(np.float32) / np.float32(127.5) - np.float32(1)
            labels = evidence.real.labels[part]
            named = evidence.networks["discriminator"](pixels, labels)["classes"].argmax(axis=1)
            wrong.append(named != labels)
        return float(np.concatenate(wrong).mean())
